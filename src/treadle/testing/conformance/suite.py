"""The whole suite in one name: `from treadle.testing.conformance.suite import *`.

It only gathers; each class says in its own file what it tests. A store that cannot keep
one promise yet overrides that class in its test module, where everyone sees it.
"""

from treadle.testing.conformance.control.find import TestFind
from treadle.testing.conformance.control.moving import (
    TestAdopt,
    TestMovingGates,
    TestMovingStarts,
    TestSeal,
)
from treadle.testing.conformance.control.notes import TestNotes
from treadle.testing.conformance.control.queues import TestLife, TestNamespaces, TestPause
from treadle.testing.conformance.control.reads import (
    TestDeadGroups,
    TestExamine,
    TestGet,
    TestQueues,
)
from treadle.testing.conformance.control.strings import TestStrings
from treadle.testing.conformance.control.verbs import (
    TestCancel,
    TestControl,
    TestDiscard,
    TestPurge,
    TestRetry,
)
from treadle.testing.conformance.gates.breakers import (
    TestBreakerByHand,
    TestBreakerOpens,
    TestBreakerProbes,
    TestHolds,
)
from treadle.testing.conformance.gates.control import TestGates, TestNumbers, TestShutting
from treadle.testing.conformance.gates.exits import TestExits, TestKeyedAndGated
from treadle.testing.conformance.gates.full import TestReplaceWaiting, TestSkip
from treadle.testing.conformance.gates.holds import TestHeldOutside, TestHoldsInLine
from treadle.testing.conformance.gates.kinds import TestDefinedInTransactions, TestKinds
from treadle.testing.conformance.gates.places import TestPlaces, TestPlacesGoOn
from treadle.testing.conformance.gates.rates import TestRates
from treadle.testing.conformance.gates.tasks import TestPausedTasks
from treadle.testing.conformance.gates.windows import (
    TestWindows,
    TestWindowsAtWork,
    TestWindowsTogether,
)
from treadle.testing.conformance.keys.freeing import TestKeyAgain, TestKeyFreed
from treadle.testing.conformance.keys.leaving import TestKeyLeaves
from treadle.testing.conformance.keys.locks import TestLocks
from treadle.testing.conformance.keys.replacing import (
    TestBehindATime,
    TestReplace,
    TestRuleOfTheHolder,
)
from treadle.testing.conformance.keys.taking import TestKeyRequests, TestKeys
from treadle.testing.conformance.keys.transactional import TestKeyTransactional
from treadle.testing.conformance.kit import case
from treadle.testing.conformance.line.attempts import TestAttempts
from treadle.testing.conformance.line.claim import TestClaim, TestLimits
from treadle.testing.conformance.line.enqueue import TestDue, TestEnqueue
from treadle.testing.conformance.line.fencing import TestFencing
from treadle.testing.conformance.line.order import TestOrder
from treadle.testing.conformance.line.requests import TestRequests
from treadle.testing.conformance.line.settle import TestSettleBatch, TestSettleEnds, TestSettleWaits
from treadle.testing.conformance.line.transactional import TestTransactional
from treadle.testing.conformance.schedules.ahead import TestAhead, TestArmed
from treadle.testing.conformance.schedules.due import TestDueSchedules, TestSchedulesRead
from treadle.testing.conformance.schedules.fire import TestFire
from treadle.testing.conformance.schedules.firing import TestFiring
from treadle.testing.conformance.schedules.keyed import TestTicksWithKeys
from treadle.testing.conformance.tenants.turns import TestFree, TestTurns, TestWeights
from treadle.testing.conformance.tenants.ways import TestTurnsAtGates, TestWays
from treadle.testing.conformance.upkeep.beat import TestBeat, TestLeave, TestWorkers
from treadle.testing.conformance.upkeep.prune import TestPrune
from treadle.testing.conformance.upkeep.rescue import TestNoRescue, TestRescue
from treadle.testing.conformance.upkeep.stage import TestParked, TestStage
from treadle.testing.conformance.upkeep.wait import TestReady, TestWait

__all__ = [
    "TestAdopt",
    "TestAhead",
    "TestArmed",
    "TestAttempts",
    "TestBeat",
    "TestBehindATime",
    "TestBreakerByHand",
    "TestBreakerOpens",
    "TestBreakerProbes",
    "TestCancel",
    "TestClaim",
    "TestControl",
    "TestDeadGroups",
    "TestDefinedInTransactions",
    "TestDiscard",
    "TestDue",
    "TestDueSchedules",
    "TestEnqueue",
    "TestExamine",
    "TestExits",
    "TestFencing",
    "TestFind",
    "TestFire",
    "TestFiring",
    "TestFree",
    "TestGates",
    "TestGet",
    "TestHeldOutside",
    "TestHolds",
    "TestHoldsInLine",
    "TestKeyAgain",
    "TestKeyFreed",
    "TestKeyLeaves",
    "TestKeyRequests",
    "TestKeyTransactional",
    "TestKeyedAndGated",
    "TestKeys",
    "TestKinds",
    "TestLeave",
    "TestLife",
    "TestLimits",
    "TestLocks",
    "TestMovingGates",
    "TestMovingStarts",
    "TestNamespaces",
    "TestNoRescue",
    "TestNotes",
    "TestNumbers",
    "TestOrder",
    "TestParked",
    "TestPause",
    "TestPausedTasks",
    "TestPlaces",
    "TestPlacesGoOn",
    "TestPrune",
    "TestPurge",
    "TestQueues",
    "TestRates",
    "TestReady",
    "TestReplace",
    "TestReplaceWaiting",
    "TestRequests",
    "TestRescue",
    "TestRetry",
    "TestRuleOfTheHolder",
    "TestSchedulesRead",
    "TestSeal",
    "TestSettleBatch",
    "TestSettleEnds",
    "TestSettleWaits",
    "TestShutting",
    "TestSkip",
    "TestStage",
    "TestStrings",
    "TestTicksWithKeys",
    "TestTransactional",
    "TestTurns",
    "TestTurnsAtGates",
    "TestWait",
    "TestWays",
    "TestWeights",
    "TestWindows",
    "TestWindowsAtWork",
    "TestWindowsTogether",
    "TestWorkers",
    "case",
]
