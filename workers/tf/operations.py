"""TensorFlow's operations: which of them may change what outlives a run, and which call functions.

The registry marks an operation as stateful when its answer depends on more than its inputs, whether it reads, writes or
draws lots. So each of those counts as changing state unless it is listed here; operations of older graphs are not marked,
but take their variable by reference. A wrong entry here would let a made-up row change a model; a missing one only has
requests run one by one.
"""

from __future__ import annotations

import ctypes as c
from dataclasses import dataclass
from typing import Any, Final

from ringserve.errors import ServingError
from ringserve.protos import message_module
from workers.tf.capi import Buffer, Status, tensorflow

# A variable's or table's handle, and what only reads it. Tables are created empty; filling one (InitializeTable) is a
# change, though most do it in the model's init op, which is no signature's part.
_READING: Final = """
    VarHandleOp _VarHandlesOp ReadVariableOp _ReadVariablesOp ReadVariableXlaSplitND ResourceGather ResourceGatherNd
    VarIsInitializedOp VariableShape Variable VariableV2 IsVariableInitialized
    HashTable HashTableV2 AnonymousHashTable MutableHashTable MutableHashTableV2 MutableHashTableOfTensors
    MutableHashTableOfTensorsV2 MutableDenseHashTable MutableDenseHashTableV2 AnonymousMutableHashTable
    AnonymousMutableHashTableOfTensors AnonymousMutableDenseHashTable
    LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2 LookupTableExport LookupTableExportV2
    BoostedTreesEnsembleResourceHandleOp BoostedTreesPredict BoostedTreesExampleDebugOutputs
    BoostedTreesQuantileStreamResourceHandleOp BoostedTreesQuantileStreamResourceGetBucketBoundaries
"""
# They pass references on, or call functions, whose own operations are looked at. XlaCallModule (JAX's export) has its state
# handed in and out as tensors.
_CARRYING: Final = """
    RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSelect RefSwitch _Arg _Retval _DeviceArg _DeviceRetval
    StatefulPartitionedCall RemoteCall If While Case _If _While XlaLaunch XlaCallModule DeviceIndex
"""
# Random numbers: a draw more moves a seeded generator on, but no client can tell how many others drew before it.
# Generators whose state is a variable (StatefulUniform, RngSkip) are not among these, nor samplers that learn.
_DRAWING: Final = """
    RandomUniform RandomUniformInt RandomStandardNormal TruncatedNormal ParameterizedTruncatedNormal RandomGamma
    RandomPoisson RandomPoissonV2 RandomShuffle RandomCrop Multinomial NonDeterministicInts StatelessRandomGetAlg
    SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 AllCandidateSampler UniformCandidateSampler
    LogUniformCandidateSampler FixedUnigramCandidateSampler CudnnRNN CudnnRNNV2 CudnnRNNV3
"""
# Nothing but an error, a line of log or the time.
_TELLING: Final = "Assert CheckNumerics CheckNumericsV2 Print PrintV2 Timestamp GuaranteeConst"
# What they write to is gone when the run ends: TensorFlow keeps it in a container of that run.
_PASSING: Final = """
    TensorArray TensorArrayV2 TensorArrayV3 TensorArrayGrad TensorArrayGradV2 TensorArrayGradV3 TensorArrayGradWithShape
    TensorArrayRead TensorArrayReadV3 TensorArrayWrite TensorArrayWriteV3 TensorArrayGather TensorArrayGatherV3
    TensorArrayScatter TensorArrayScatterV3 TensorArrayConcat TensorArrayConcatV3 TensorArraySplit TensorArraySplitV3
    TensorArrayPack TensorArrayUnpack TensorArraySize TensorArraySizeV3 TensorArrayClose TensorArrayCloseV3
    Stack StackV2 StackPush StackPushV2 StackPop StackPopV2 StackClose StackCloseV2
    TemporaryVariable DestroyTemporaryVariable Empty DeepCopy
    RangeDataset TensorDataset TensorSliceDataset ReduceDataset DatasetToSingleElement
"""

#: Marked as stateful in the registry, or taking a reference, and yet leaving everything as it was.
HARMLESS: Final = frozenset(" ".join((_READING, _CARRYING, _DRAWING, _TELLING, _PASSING)).split())

#: Not marked, and yet writing: into the memory of their input, which may be a variable's, or into files.
WRITING: Final = frozenset((
    "InplaceAdd", "InplaceSub", "InplaceUpdate",
    "CacheDataset", "SnapshotDataset", "SnapshotDatasetV2", "RegisterDataset", "RegisterDatasetV2",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """What a run of it may do."""

    changes_state: bool
    calls_functions: bool


#: Of an operation that nobody knows, anything is expected.
UNKNOWN: Final = Operation(changes_state=True, calls_functions=True)


def operation(definition: Any) -> Operation:
    """What an OpDef says."""
    writes = definition.name in WRITING
    suspect = definition.is_stateful or any(argument.is_ref for argument in definition.input_arg)
    calls = any(attribute.type in ("func", "list(func)") for attribute in definition.attr)
    return Operation(writes or (suspect and definition.name not in HARMLESS), calls)


class Operations:
    """TensorFlow's registry. Each operation is looked up once."""

    def __init__(self, graph: Any) -> None:
        """`graph`: a TF_Graph, through which the C API shows the registry."""
        self._graph = graph
        self._known: dict[str, Operation] = {}

    def find(self, name: str) -> Operation:
        """UNKNOWN where there is none of this name."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._look_up(name)
        return found

    def _look_up(self, name: str) -> Operation:
        status, buffer = Status(), Buffer()
        tensorflow().GraphGetOpDef(self._graph, name.encode(), c.byref(buffer), status.pointer)
        try:
            status.check()
            raw = c.string_at(buffer.data or 0, buffer.length)
        except ServingError:
            return UNKNOWN
        finally:
            buffer.free()
        return operation(message_module("tensorflow.core.framework.op_def_pb2").OpDef.FromString(raw))
