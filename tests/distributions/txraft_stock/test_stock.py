from stock.machine import Stock
from stock.warehouse import Warehouse
from twisted.trial.unittest import SynchronousTestCase

from txraft.limits import Limits
from txraft.statemachine import Context, Host, Refused
from txraft.statemachine.log_commands import HostMachine, Invoke
from txraft.statemachine.results import decode_answer


class StockTests(SynchronousTestCase):
    """Commands are methods: call them."""

    def test_nothing_is_taken_that_is_not_there(self) -> None:
        stock, ctx = Stock(), Context(index=1, time_ms=1_000)
        self.assertEqual(stock.add(ctx, "apple", 2), 2)
        self.assertRaises(Refused, stock.add, ctx, "apple", -3)
        self.assertEqual(stock.left("apple"), 2)

    def test_a_large_state_is_given_as_it_was(self) -> None:
        warehouse, other, ctx = Warehouse(), Warehouse(), Context(index=1, time_ms=1_000)
        warehouse.add(ctx, "apple", "hall 1", 5)
        state = warehouse.snapshot()
        warehouse.add(ctx, "pear", "hall 1", 2)
        other.restore(state)
        self.assertEqual((other.units, other.lying_in("hall 1")), ({"apple": 5}, ["apple"]))


class HostedStockTests(SynchronousTestCase):
    """As a node does it: checked, applied out of the log, saved and restored."""

    def setUp(self) -> None:
        self.host = self.fresh_host()
        for name, plugin, version in self.host.unhosted():
            self.host.apply(1, 1, HostMachine(0, name, plugin, version))

    def fresh_host(self) -> Host:
        return Host({"stock": "stock.machine.Stock"}, limits=Limits())

    def call(self, command: str, json: bytes, time_ms: int = 0) -> object:
        arguments = self.host.prepare("stock", command, self.host.arguments_of_json("stock", command, json))
        entry = Invoke(time_ms, 0, 0, 0, "stock", command, arguments)
        return decode_answer(self.host.apply(self.host.applied_index + 1, 1, entry)).value()

    def test_a_restored_machine_is_the_same(self) -> None:
        self.assertEqual(self.call("add", b'{"sku": "apple", "n": 5}'), 5)
        other = self.fresh_host()
        other.adopt(other.restored(self.host.capture().parts()))
        self.assertEqual(other.digest(), self.host.digest())
