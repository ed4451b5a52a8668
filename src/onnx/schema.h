#pragma once

// The classes that protoc generates from onnx.proto, in the namespace offramp::onnx::schema.
#include <onnx.pb.h>
