from txraft.statemachine import StateMachinePlugin

stock = StateMachinePlugin("stock", "stock.machine.Stock")
