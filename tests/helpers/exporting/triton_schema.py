"""The fields of Triton's model configuration that a repository uses, as messages of protobuf.

Names, numbers and types are those of ``protobuf/model_config.proto`` in
https://github.com/triton-inference-server/common at commit 08365ea. Other fields are unknown here, so that a mistyped
name is an error.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPES = ["INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32",
         "FP64", "STRING", "BF16"]  # fmt: skip
MESSAGES = {
    "ModelTensorReshape": ["1 shape int64*"],
    "ModelInput": ["1 name string", "2 data_type DataType", "4 dims int64*", "5 reshape ModelTensorReshape"],
    "ModelOutput": ["1 name string", "2 data_type DataType", "3 dims int64*", "5 reshape ModelTensorReshape"],
    "InitialState": ["1 data_type DataType", "2 dims int64*", "3 zero_data bool", "5 name string"],
    "State": [
        "1 input_name string", "2 output_name string", "3 data_type DataType", "4 dims int64*",
        "5 initial_state InitialState*",
    ],
    "ModelSequenceBatching": ["1 max_sequence_idle_microseconds uint64", "5 state State*"],
    "ModelParameter": ["1 string_value string"],
    "Parameter": ["1 key string", "2 value ModelParameter"],  # of a map
    "ModelConfig": [
        "1 name string", "17 backend string", "4 max_batch_size int32", "5 input ModelInput*", "6 output ModelOutput*",
        "13 sequence_batching ModelSequenceBatching", "14 parameters Parameter*",
    ],
}  # fmt: skip


def model_config():
    """Returns an empty message of the model configuration."""
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="inference", syntax="proto3")
    types = file.enum_type.add(name="DataType")
    for number, name in enumerate(TYPES):
        types.value.add(name=f"TYPE_{name}", number=number)
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, type_ in map(str.split, fields):
            added = message.field.add(name=field, number=int(number))
            added.label = kinds.LABEL_REPEATED if type_.endswith("*") else kinds.LABEL_OPTIONAL
            type_ = type_.rstrip("*")
            if type_ in MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".inference.{type_}"
            elif type_ == "DataType":
                added.type, added.type_name = kinds.TYPE_ENUM, ".inference.DataType"
            else:
                added.type = getattr(kinds, f"TYPE_{type_.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
