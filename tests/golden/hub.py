"""Models on text in folders as transformers writes them, and folders of ours in transformers.

    python hub.py make
    python hub.py check FOLDER…
    python hub.py states FOLDER OUT

`make` writes hub/NAME/, each a folder of another kind, and hub/NAME.expected.safetensors: `tokens`, `segments` (N, L; u32), `lengths` (N) and the
`logits` (N, L, vocabulary) of transformers in f64. `state` is hub/NAME.expected.safetensors' metadata's: the worst error of f32, relative to 1 + |it|.

    mlm         BertForMaskedLM, one file
    old         BertForPreTraining as it was kept once: gamma and beta, position_ids, the decoder beside the table; f16
    headless    BertModel: no prefix, no head, with pooler; another epsilon
    electra     ElectraForMaskedLM: narrow tables; bf16, in several files with an index

`check` loads folders that Taper wrote by `from_pretrained`, which must miss nothing and find nothing too much, and compares the scores of
`asked.json` with ours in `logits.f32`, of all heads, and runs the Python of the folder's card, unless it is asked for answers. Prints a line a folder; fails if a score is off by
more than 1e-4.

`states` writes of a real model's folder what it makes of a few sentences: like an expected.safetensors, its last states as `logits`, the sentences
under `texts`. `TAPER_HUB=FOLDER TAPER_TORCH=PYTHON cargo test --test hub` compares. Needs transformers (5.24 when it was written), torch and safetensors.
Where optimum is installed, it opens the folders as well.
"""

import copy
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent / "hub"
GATE = 1e-4
ROWS, LENGTH = 3, 6
SIZES = dict(vocab_size=40, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, max_position_embeddings=8)


def pieces():
    letters = [chr(c) for c in range(ord("a"), ord("a") + 16)]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of", "##s"] + letters + ["##" + c for c in letters]


def randomised(net, rounded):
    for weight in net.parameters():
        # Away from 0, 1 and equal: a tensor in a wrong place shows.
        torch.nn.init.normal_(weight, 0.0, weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.3)
    for module in net.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1.0, 0.2)
    for weight in net.parameters():
        weight.data = weight.data.to(rounded).float()
    return net.eval()


def asked():
    tokens = torch.randint(SIZES["vocab_size"], (ROWS, LENGTH))
    lengths = torch.tensor([LENGTH, 4, 1])
    segments = (torch.arange(LENGTH) >= lengths[:, None] // 2).long()
    return tokens, segments, lengths


def answer(net, tokens, segments, lengths):
    there = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    with torch.no_grad():
        found = net(input_ids=tokens, token_type_ids=segments, attention_mask=there)
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        if name in found:
            return found[name].double()
    raise ValueError(found.keys())


def expected(name, net):
    from safetensors.numpy import save_file

    inputs = asked()
    exact = answer(copy.deepcopy(net).double(), *inputs)
    error = ((answer(net, *inputs) - exact).abs() / (1 + exact.abs())).max().item()
    words = lambda x: x.numpy().astype(np.uint32)
    tensors = {"tokens": words(inputs[0]), "segments": words(inputs[1]), "lengths": words(inputs[2]), "logits": exact.float().numpy()}
    save_file(tensors, HERE / f"{name}.expected.safetensors", {"case": json.dumps({"f32_error": error})})
    print(f"{name}: up to {exact.abs().max():.2f}, f32 off by {error:.1e}")


def kept(name, net, lowercase, **how):
    from transformers import BertTokenizer, BertTokenizerFast  # noqa: F401

    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    net.save_pretrained(folder, **how)
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in pieces()))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase, "tokenizer_class": "BertTokenizer"}))
    return folder


def make():
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel, ElectraConfig, ElectraForMaskedLM

    HERE.mkdir(exist_ok=True)
    torch.manual_seed(61)
    bert = lambda **keys: BertConfig(hidden_size=8, **SIZES, **keys)

    net = randomised(BertForMaskedLM(bert()), torch.float32)
    kept("mlm", net, True)
    expected("mlm", net)

    net = randomised(BertForPreTraining(bert()), torch.float16)
    folder = kept("old", net, False)
    state = load_file(folder / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): x.half() for name, x in state.items()}
    old["bert.embeddings.position_ids"] = torch.arange(SIZES["max_position_embeddings"])[None]
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"].clone()
    save_file(old, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    # As the configurations of Google's own checkpoints were.
    config = {key: config[key] for key in sorted(config) if key not in ("layer_norm_eps", "dtype", "tie_word_embeddings", "pad_token_id")}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    expected("old", net)

    net = randomised(BertModel(bert(layer_norm_eps=1e-3)), torch.float32)
    kept("headless", net, True)
    expected("headless", net)

    electra = ElectraConfig(embedding_size=6, hidden_size=16, **SIZES)
    net = randomised(ElectraForMaskedLM(electra), torch.bfloat16)
    kept("electra", copy.deepcopy(net).bfloat16(), True, max_shard_size=3000)
    expected("electra", net)


def load(folder):
    import transformers

    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    net, said = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    wrong = {key: names for key, names in said.items() if names}
    assert not wrong, f"{folder}: {wrong}"
    return net.eval()


def card(folder):
    """Runs the snippets of the card as they stand; the second is ONNX Runtime's."""
    snippets = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert len(snippets) == 2, f"{folder}: {len(snippets)} snippets"
    here, answers = os.getcwd(), []
    os.chdir(folder)
    for code in snippets:
        try:
            place = {}
            exec(compile(code, str(folder / "README.md"), "exec"), place)
            answers.append(np.asarray(place["logits"]))
        except ModuleNotFoundError as error:
            assert error.name == "onnxruntime", error
    os.chdir(here)
    return max(np.abs(one - answers[0]).max() for one in answers), len(answers)


def optimum(folder, inputs):
    """Scores by optimum, which opens the folder as it is; none where it is not installed."""
    try:
        from optimum.onnxruntime import ORTModelForMaskedLM
    except ModuleNotFoundError:
        return []
    return [ORTModelForMaskedLM.from_pretrained(folder)(**inputs).logits.numpy()]


def compare(folder):
    net = load(folder)
    inputs = {name: torch.tensor(rows) for name, rows in json.loads((folder / "asked.json").read_text()).items()}
    with torch.no_grad():
        answers = net(**inputs)
    # One head after the other; of spans start and end of a token side by side.
    found = [scores.numpy() for scores in answers.values()]
    theirs = np.stack(found, -1) if "start_logits" in answers else found[0] if len(found) == 1 else np.concatenate([x.ravel() for x in found])
    ours = np.fromfile(folder / "logits.f32", "<f4").reshape(theirs.shape)
    # The sentences of a card that asks are longer than these networks have positions.
    between, engines = (0.0, 0) if "QuestionAnswering" in type(net).__name__ else card(folder)
    others = optimum(folder, inputs) if "ForMaskedLM" in type(net).__name__ else []
    off = np.max([between] + [np.abs(scores - ours).max() for scores in [theirs] + others])
    most = np.abs(ours).max()
    also = ", and by optimum" if others else ""
    print(f"{folder.name}: {type(net).__name__} {ours.shape}, scores up to {most:.3f}, off by {off:.1e}{also}; {engines} engines run the card")
    return off <= GATE and most > 0.01


TEXTS = [
    "The quick brown fox jumps over the lazy dog, and nobody in Z\u00fcrich minds.",
    "Attention is a weighted mean.",
    "\u4e2d\u6587 and caf\u00e9s: 3.14 unaffable things",
]


def states(folder, out):
    from safetensors.numpy import save_file
    from transformers import AutoModel, AutoTokenizer

    given = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    net = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = (given["input_ids"], given["token_type_ids"], given["attention_mask"].sum(1))
    exact = answer(copy.deepcopy(net).double(), *inputs)
    error = ((answer(net, *inputs) - exact).abs() / (1 + exact.abs())).max().item()
    tensors = {name: x.numpy().astype(np.uint32) for name, x in zip(("tokens", "segments", "lengths"), inputs)}
    save_file(tensors | {"logits": exact.float().numpy()}, out, {"case": json.dumps({"f32_error": error, "texts": TEXTS})})


def main():
    torch.set_num_threads(1)
    if sys.argv[1:] == ["make"]:
        make()
    elif sys.argv[1:2] == ["states"]:
        states(*sys.argv[2:])
    elif sys.argv[1:2] == ["check"]:
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        # A list, so that every folder is compared.
        if not all([compare(Path(folder).resolve()) for folder in sys.argv[2:]]):
            sys.exit(f"a score is off by more than {GATE}")
    else:
        sys.exit(__doc__)


main()
