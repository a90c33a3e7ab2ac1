"""The state machines that come with txraft. Only their names: a machine is imported when it is used."""

from txraft.statemachine import StateMachinePlugin

config = StateMachinePlugin("config", "txraft.machines.config_store.ConfigStore")
counter = StateMachinePlugin("counter", "txraft.machines.counter.Counter")
queue = StateMachinePlugin("queue", "txraft.machines.work_queue.WorkQueue")
