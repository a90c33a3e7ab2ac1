from txraft.statemachine import StateMachinePlugin

broken = StateMachinePlugin("broken", "broken_stock.machine.BrokenStock")
