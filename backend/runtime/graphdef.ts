import protobuf from "protobufjs/light.js";

/**
 * The part of TensorFlow's graph format that a captured function needs, by the field numbers of
 * tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto.
 */
const schema = protobuf.Root.fromJSON({
  nested: {
    GraphDef: {
      fields: { node: { rule: "repeated", type: "NodeDef", id: 1 }, versions: { type: "VersionDef", id: 4 } },
    },
    VersionDef: { fields: { producer: { type: "int32", id: 1 } } },
    NodeDef: {
      fields: {
        name: { type: "string", id: 1 },
        op: { type: "string", id: 2 },
        input: { rule: "repeated", type: "string", id: 3 },
        attr: { keyType: "string", type: "AttrValue", id: 5 },
      },
    },
    AttrValue: {
      oneofs: { value: { oneof: ["list", "s", "i", "f", "b", "type", "shape", "tensor", "func"] } },
      fields: {
        list: { type: "ListValue", id: 1 },
        s: { type: "bytes", id: 2 },
        i: { type: "int64", id: 3 },
        f: { type: "float", id: 4 },
        b: { type: "bool", id: 5 },
        type: { type: "int32", id: 6 },
        shape: { type: "TensorShapeProto", id: 7 },
        tensor: { type: "TensorProto", id: 8 },
        func: { type: "NameAttrList", id: 10 },
      },
    },
    NameAttrList: { fields: { name: { type: "string", id: 1 } } },
    ListValue: {
      fields: {
        i: { rule: "repeated", type: "int64", id: 3, options: { packed: true } },
        f: { rule: "repeated", type: "float", id: 4, options: { packed: true } },
        type: { rule: "repeated", type: "int32", id: 6, options: { packed: true } },
      },
    },
    TensorShapeProto: { fields: { dim: { rule: "repeated", type: "Dim", id: 2 } } },
    Dim: { fields: { size: { type: "int64", id: 1 } } },
    TensorProto: {
      fields: {
        dtype: { type: "int32", id: 1 },
        tensorShape: { type: "TensorShapeProto", id: 2 },
        tensorContent: { type: "bytes", id: 4 },
      },
    },
  },
} as protobuf.INamespace);
const GraphDef = schema.lookupType("GraphDef");

/** An attribute of a node: exactly one field is set. */
export interface AttrValue {
  list?: { i?: number[]; f?: number[]; type?: number[] };
  s?: Uint8Array;
  i?: number;
  f?: number;
  b?: boolean;
  type?: number;
  shape?: { dim: { size: number }[] };
  tensor?: { dtype: number; tensorShape: { dim: { size: number }[] }; tensorContent: Uint8Array };
  func?: { name: string };
}

/** One operation of a graph; inputs are `node`, `node:output` or `^node` for a control edge. */
export interface NodeDef {
  name: string;
  op: string;
  input: string[];
  attr: Record<string, AttrValue>;
}

/** The graph-format version that the pinned TensorFlow writes. */
const PRODUCER = 1882;

/** A shape in TensorFlow's form; -1 stands for a length unknown until the call. */
export function shapeProto(shape: readonly number[]): { dim: { size: number }[] } {
  return { dim: shape.map((size) => ({ size })) };
}

/** Serialises nodes to the bytes of a GraphDef. */
export function encodeGraph(nodes: NodeDef[]): Uint8Array {
  return GraphDef.encode(GraphDef.create({ node: nodes, versions: { producer: PRODUCER } })).finish();
}
