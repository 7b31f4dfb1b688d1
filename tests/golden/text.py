"""Goldens of the text library (engine/train/src/data/text/), in text/*.json. Others' code gives every answer but the labels of windows, which
follow run_qa's rule, and the statistics, which come from the rules of BERT's pre-training data written down here with Python's own random numbers.

    python text.py UTILS_QA TRANSFORMERS4 [DATA]

UTILS_QA is a folder whose utils_qa.py is that of transformers' examples (question answering; the function may answer its three dictionaries instead of
writing them), TRANSFORMERS4 a folder with transformers 4 (`pip install --no-deps --target`), of which the scores of SQuAD 2.0 are taken,
and DATA one with bert-base-uncased/vocab.txt, squad/dev-v2.0-half.json and wikitext-2/, without which real.json stays as it is.
`python text.py --check FOLDER` loads a tokenizer that Taper wrote and compares it with text/wordpiece.json.

wordpiece.json: `vocabulary`; `cases`: `text`, `lowercase`, `strip_accents`, `ids` and `offsets` (code points) of `plain` text and of `marked` text, where
    [MASK] and the like are read as such. `tokenizer_json` is what transformers writes.
words.json: of each 4,096 code points c the first 8 bytes of the SHA-256 of the words of "a" + c + "b", each and a line feed; lower case, and as they are.
squad.json: `questions` as SQuAD's file; of each `settings`: `windows` (ids, kinds, length, offsets of the context, answer), scores, and what
    postprocess_qa_predictions makes of them with and without null answers.
metrics.json: `truth` and `predictions`, the scores as the bits of an f64, in hexadecimal.
pairs.json: lengths of the sentences of documents, settings, and means over many walks.
"""

import hashlib
import importlib.util
import json
import os
import random
import struct
import sys
import tempfile
import types

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text")
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

TEXTS = [
    "",
    "Hello, world! It's 3.14-ish (isn't it?) ... $5 @home #tag a_b ~x^2`",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m A\u030angstrom \u0130stanbul \u0130 \u00df Stra\u00dfe \ufb01sh \u1e9b\u0323 q\u0307\u0323x a\u0315\u0300b",
    "\u039f\u0394\u039f\u03a3 \u03bf\u03b4\u03cc\u03c2 \u0416\u0443\u0440\u043d\u0430\u043b \u0439\u0451 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u4e2d\u6587abc\u5b57 \u65e5\u672c\u8a9e\u3067\u3059 \u30ab\u30bf\u30ab\u30ca\u304c \ud55c\uad6d\uc5b4 \uac01x \u3400\U00020000 \uf900",
    "ok \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f970! \u2764\ufe0f \U0001f1e9\U0001f1ea \U0001d400\U0001d4ea \u2460 \uff11\uff12 \u00bd \u2167",
    "a\x00b c\x07d e\u200bf g\ufffdh i\u00adj\tk\nl\rm\x0bn\x0co\x1cp\x85q\u00a0r\u3000s\u2028t\ufeffu\ue000v",
    "x" * 100 + " " + "x" * 101 + " " + "\u00e9" * 100 + " " + "\u4e2d" * 3 + "y" * 101,
    "The [MASK] of [CLS]France[SEP] is [mask] [MASK][UNK]. ##ing # ## [PAD",
    "unaffable running runs RUNNING unwanted zzzz \u2603 un\u2603known q",
    "\u201cquotes\u201d \u2018single\u2019 \u2014dash\u2013 \u2026 \u00bfqu\u00e9? \u00a1s\u00ed! \u3002\u3001\uff01 \u00a3\u20ac \u00a7 \u2022 \u00b0",
    "   leading and trailing   ",
    "\u0301\u0301 \u0301a \u0344 \u0f71\u0f72 \u0b4b \U0001d15e",
    "one\ntwo\r\nthree\u0000\u0000four",
]


def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=True, separators=(",", ":"), sort_keys=False)
        file.write("\n")


def vocabulary():
    """Marks that are not in front, words, and pieces of one character but a few, of what the texts become."""
    from tokenizers import normalizers, pre_tokenizers

    words = "the of is hello world un ##aff ##able run ##ning ##s want ##ed lead ##ing and trail is ##n three two one four x ##xx RUN ##NING He ##llo".split()
    pieces = ["[PAD]", "[unused0]", "[MASK]", "[UNK]"] + list(dict.fromkeys(words)) + ["[SEP]", "[CLS]"]
    letters = set()
    for lowercase in (True, False):
        normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        for text in TEXTS:
            for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text)):
                letters.add(word[0])
                letters.update("##" + c for c in word[1:])
    for c in ("q", "##q", "\u2603", "##\u2603", "\u00a7"):
        letters.discard(c)
    return pieces + sorted(letters - set(pieces))


def tokenizer(pieces, lowercase, strip_accents=None):
    from transformers import BertTokenizerFast

    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8", newline="\n") as file:
            file.writelines(piece + "\n" for piece in pieces)
        with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
            json.dump({"do_lower_case": lowercase, "strip_accents": strip_accents, "tokenizer_class": "BertTokenizer"}, file)
        return BertTokenizerFast.from_pretrained(folder)


def encode(of, text, marked):
    got = of(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=not marked)
    return {"ids": got["input_ids"], "offsets": got["offset_mapping"]}


def wordpiece():
    pieces = vocabulary()
    cases = []
    for lowercase, strip in ((True, None), (False, None), (True, False), (False, True)):
        of = tokenizer(pieces, lowercase, strip)
        state = json.loads(of.backend_tokenizer.to_str())["normalizer"]
        assert (state["lowercase"], state["strip_accents"]) == (lowercase, strip), state
        for text in TEXTS:
            cases.append({"text": text, "lowercase": lowercase, "strip_accents": strip, "plain": encode(of, text, False), "marked": encode(of, text, True)})
    saved = json.loads(tokenizer(pieces, True).backend_tokenizer.to_str())
    write("wordpiece.json", {"vocabulary": pieces, "cases": cases, "tokenizer_json": saved})


def words():
    from tokenizers import normalizers, pre_tokenizers

    blocks = {}
    for lowercase in (True, False):
        normalizer, cut = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
        hashes = []
        for first in range(0, 0x110000, 4096):
            hash = hashlib.sha256()
            for c in range(first, first + 4096):
                if not 0xD800 <= c < 0xE000:
                    for word, _ in cut.pre_tokenize_str(normalizer.normalize_str("a" + chr(c) + "b")):
                        hash.update((word + "\n").encode())
            hashes.append(hash.hexdigest()[:16])
        blocks["lower" if lowercase else "cased"] = hashes
    write("words.json", blocks)


CONTEXT_A = (
    "  The caf\u00e9 in Z\u00fcrich\u2019s old town opened in 1897, on a cold morning.  It was run by An\u00e4is M\u00fcller and \u738b\u5c0f\u660e until 1931; "
    "a \U0001f600 hung over the door. Its guests paid $3.50 (or 2\u00bd francs) for coffee and a bun. In the end, the house was sold to the city of Z\u00fcrich"
)
CONTEXT_B = "Short."


def questions():
    def asked(id, question, *answers, context=CONTEXT_A):
        return {"id": id, "question": question, "answers": [{"text": a, "answer_start": context.index(a)} for a in answers], "is_impossible": not answers}

    first = [
        asked("q0", "When did it open?", "1897", "in 1897"),
        asked("q1", "   \t Who ran it?", "An\u00e4is M\u00fcller and \u738b\u5c0f\u660e"),
        asked("q2", "What hung over the door, and why would anybody hang such a thing there of all places in that town?", "\U0001f600"),
        asked("q3", "Who bought it?", "the city of Z\u00fcrich"),
        asked("q4", "What did coffee cost?", "$3.50 (or 2\u00bd francs)"),
        asked("q5", "Who closed it?"),
        asked("q6", "What is first?", "The"),
        asked("q7", "What is last?", "Z\u00fcrich"),
    ]
    second = [asked("q8", "Is it short?", "Short", context=CONTEXT_B), asked("q9", "?", context=CONTEXT_B)]
    paragraphs = [{"context": CONTEXT_A, "qas": first}, {"context": CONTEXT_B, "qas": second}]
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}


def label(feature, offsets, sequence, row):
    """run_qa's rule, kept inside of the context."""
    if not row["answers"]:
        return [0, 0]
    start = row["answers"][0]["answer_start"]
    end = start + len(row["answers"][0]["text"])
    inside = [at for at, part in enumerate(sequence) if part == 1]
    if not inside or offsets[inside[0]][0] > start or offsets[inside[-1]][1] < end:
        return [0, 0]
    return [max(at for at in inside if offsets[at][0] <= start), min(at for at in inside if offsets[at][1] >= end)]


def squad(utils):
    pieces = vocabulary() + ["caf", "open", "opened", "cost", "city", "franc", "##ich", "door", "\U0001f600"] + [c for c in "bcdgw0123456789$;"] + ["##" + c for c in "dgkwjz0123456789"]
    pieces = list(dict.fromkeys(pieces))
    data = questions()
    rows = [dict(asked, context=paragraph["context"]) for paragraph in data["data"][0]["paragraphs"] for asked in paragraph["qas"]]
    of = tokenizer(pieces, True)
    settings = []
    for length, stride, n_best, longest in ((64, 16, 20, 30), (160, 30, 5, 3), (256, 40, 20, 8)):
        got = of(
            [row["question"].lstrip() for row in rows],
            [row["context"] for row in rows],
            truncation="only_second",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
            padding="max_length",
        ) if length > 64 else None
        if got is None:
            # q2 is longer than such a window allows in transformers.
            rest = [row for row in rows if row["id"] != "q2"]
            got = of([r["question"].lstrip() for r in rest], [r["context"] for r in rest], truncation="only_second", max_length=length, stride=stride,
                     return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=True, padding="max_length")
        else:
            rest = rows
        windows, features = [], []
        for at, question in enumerate(got["overflow_to_sample_mapping"]):
            sequence, offsets, row = got.sequence_ids(at), got["offset_mapping"][at], rest[question]
            inside = [offset for offset, part in zip(offsets, sequence) if part == 1]
            windows.append({"id": row["id"], "ids": got["input_ids"][at], "kinds": got["token_type_ids"][at], "length": sum(got["attention_mask"][at]),
                            "context": sequence.index(1), "offsets": inside, "answer": label(at, offsets, sequence, row)})
            features.append({"example_id": row["id"], "offset_mapping": [tuple(o) if part == 1 else None for o, part in zip(offsets, sequence)]})
        draws = np.random.default_rng(length)
        starts, ends = ((draws.normal(size=(len(windows), length)) * 8192).round().astype(np.float32) / 4096 for _ in range(2))
        answers = {}
        for two, threshold in ((False, 0.0), (True, 0.0), (True, -3.0), (True, 4.0)):
            examples = {"id": [row["id"] for row in rest], "rows": rest}
            chosen, best, odds = utils.postprocess_qa_predictions(examples, features, (starts, ends), two, n_best, longest, threshold)
            best = {id: [[one["text"], one["probability"]] for one in all] for id, all in best.items()} if threshold == 0 else {}
            answers[f"{'2' if two else '1'} {threshold}"] = {"answers": chosen, "n_best": best, "odds": odds}
        numbers = [[[float(x) for x in row] for row in scores] for scores in (starts, ends)]
        settings.append({"length": length, "doc_stride": stride, "n_best": n_best, "max_answer_length": longest, "windows": windows,
                         "starts": numbers[0], "ends": numbers[1], "chosen": answers})
    write("squad.json", {"vocabulary": pieces, "questions": data, "settings": settings})


def bits(value):
    return struct.pack(">d", float(value)).hex()


TRUTH = [
    (["the Eiffel Tower", "Eiffel tower"], "Eiffel Tower."),
    (["1066", "in 1066"], "In  1066 A.D."),
    (["An apple a day"], "apple, day an"),
    (["r\u00e9sum\u00e9"], "resume"),
    (["10,000"], "10 000"),
    (["Denmark, Iceland and Norway"], "Iceland, Norway & Denmark"),
    (["a b a b c"], "b b b c c"),
    (["\u738b\u5c0f\u660e"], "\u738b \u5c0f\u660e"),
    (["the-a"], "thea"),
    (["the caf\u00e9\u2014a place"], "caf\u00e9\u2014place"),
    (["half_a_loaf"], "halfaloaf"),
    (["\u0391\u03a3 \u0130"], "\u03b1\u03c2 i\u0307"),
    (["x\x1cy\u00a0z"], "x y z"),
    (["a\u0301 the\u093f an\u2160"], "\u0301 \u093f an\u2160"),
    (["long answer that has many many words in it"], "many words that are in a long long answer"),
    ([], ""),
    ([], "something"),
    (["never found"], ""),
    (["yes"], "no"),
    (["the"], "the"),
]


def metrics(folder):
    from torchmetrics.text import SQuAD

    # Only the file of the scores is loaded, as transformers 4 wants other versions of its friends.
    for name in ("t4", "t4.data", "t4.data.metrics", "t4.models", "t4.models.bert", "t4.utils"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    sys.modules["t4.models.bert"].BasicTokenizer = None
    sys.modules["t4.utils"].logging = types.SimpleNamespace(get_logger=lambda name: None)
    path = os.path.join(folder, "transformers", "data", "metrics", "squad_metrics.py")
    spec = importlib.util.spec_from_file_location("t4.data.metrics.squad_metrics", path)
    scores = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scores)

    draws = random.Random(3)
    predictions = {f"q{at}": prediction for at, (_, prediction) in enumerate(TRUTH)}
    odds = {f"q{at}": draws.uniform(-8, 8) for at in range(len(TRUTH))}

    def examples(rows):
        of = lambda truths: [{"text": text, "answer_start": 0} for text in truths]
        return [types.SimpleNamespace(qas_id=id, answers=of(truths)) for id, truths in rows]

    rows = [(f"q{at}", truths) for at, (truths, _) in enumerate(TRUTH)]
    plain = scores.squad_evaluate(examples(rows), predictions)
    withheld = scores.squad_evaluate(examples(rows), predictions, odds, no_answer_probability_threshold=1.0)
    first = [(id, truths) for id, truths in rows if truths and id != "q19"]
    one = scores.squad_evaluate(examples(first), predictions)
    metric = SQuAD()
    metric.update(
        [{"id": id, "prediction_text": predictions[id]} for id, _ in first],
        [{"id": id, "answers": {"text": truths, "answer_start": [0] * len(truths)}} for id, truths in first],
    )
    torch = {key: float(value) for key, value in metric.compute().items()}
    hexed = lambda scores: {key: bits(value) for key, value in scores.items()}
    write("metrics.json", {"truth": [truths for truths, _ in TRUTH], "predictions": predictions, "odds": {id: bits(value) for id, value in odds.items()},
                           "two": hexed(plain), "withheld": hexed(withheld), "one": hexed(one), "torchmetrics": torch})


def pairs():
    """BERT's rules for pairs of segments and masks, from their description."""
    draws = random.Random(7)
    documents = [[draws.randint(3, 20) for _ in range(draws.randint(1, 12))] for _ in range(40)]
    settings, walks = {"length": 64, "short_probability": 0.1, "max_predictions": 9}, 400
    room = settings["length"] - 3
    sums = dict.fromkeys(["pairs", "random", "a", "b", "full", "predictions", "a_random", "b_random"], 0.0)
    for walk in range(walks):
        draws = random.Random(walk)
        for number, document in enumerate(documents):
            target = draws.randint(2, room) if draws.random() < settings["short_probability"] else room
            place = 0
            while place < len(document):
                end, have = place, 0
                while end < len(document):
                    have += document[end]
                    end += 1
                    if have >= target:
                        break
                gathered = document[place:end]
                first = draws.randint(1, len(gathered) - 1) if len(gathered) > 1 else 1
                a = sum(gathered[:first])
                elsewhere = len(gathered) == 1 or draws.random() < 0.5
                if elsewhere:
                    for _ in range(10):
                        other = draws.randrange(len(documents))
                        if other != number:
                            break
                    b = 0
                    for length in documents[other][draws.randrange(len(documents[other])):]:
                        b += length
                        if b >= target - a:
                            break
                    place += first
                else:
                    b = sum(gathered[first:])
                    place = end
                while a + b > room:
                    if a > b:
                        a -= 1
                    else:
                        b -= 1
                sums["pairs"] += 1
                sums["random"] += elsewhere
                sums["a"] += a
                sums["b"] += b
                sums["a_random"] += a * elsewhere
                sums["b_random"] += b * elsewhere
                sums["full"] += a + b == room
                sums["predictions"] += min(settings["max_predictions"], max(1, round(0.15 * (a + b + 3))))
    count = sums.pop("pairs")
    means = {key: value / count for key, value in sums.items()}
    write("pairs.json", {"documents": documents, "settings": settings, "walks": walks, "pairs": count / walks, "means": means})


def real(shared):
    """real.json: hashes of what transformers makes of files that are not in the repository."""
    with open(os.path.join(shared, "bert-base-uncased", "vocab.txt"), encoding="utf-8") as file:
        of = tokenizer(file.read().split("\n")[:-1], True)
    with open(os.path.join(shared, "squad", "dev-v2.0-half.json"), encoding="utf-8") as file:
        data = json.load(file)["data"]
    rows = [dict(asked, context=p["context"]) for article in data for p in article["paragraphs"] for asked in p["qas"]]
    hash, windows, beside = hashlib.sha256(), 0, 0
    for first in range(0, len(rows), 512):
        part = rows[first : first + 512]
        got = of([row["question"].lstrip() for row in part], [row["context"] for row in part], truncation="only_second", max_length=384, stride=128,
                 return_overflowing_tokens=True, return_offsets_mapping=True, return_token_type_ids=True)
        for at, question in enumerate(got["overflow_to_sample_mapping"]):
            sequence, offsets, row = got.sequence_ids(at), got["offset_mapping"][at], part[question]
            inside = [number for offset, part_ in zip(offsets, sequence) if part_ == 1 for number in offset]
            hash.update(np.array([*got["input_ids"][at], *inside, *label(at, offsets, sequence, row)], dtype="<u4").tobytes())
            windows += 1
    lines = hashlib.sha256()
    for name in ("valid.txt", "test.txt"):
        with open(os.path.join(shared, "wikitext-2", name), encoding="utf-8") as file:
            for line in file:
                lines.update(np.array(of(line, add_special_tokens=False)["input_ids"], dtype="<u4").tobytes())
    write("real.json", {"questions": len(rows), "windows": windows, "squad": hash.hexdigest(), "wikitext": lines.hexdigest()})


def check(folder):
    from transformers import AutoTokenizer, BertTokenizerFast

    golden = json.load(open(os.path.join(HERE, "wordpiece.json"), encoding="utf-8"))
    cases = [case for case in golden["cases"] if case["lowercase"] and case["strip_accents"] is None]
    for of in (BertTokenizerFast.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)):
        for case in cases:
            assert encode(of, case["text"], True) == {key: [tuple(x) if isinstance(x, list) else x for x in value] for key, value in case["marked"].items()}, case
        assert of("a", "b")["input_ids"] == [of.cls_token_id, *of("a", add_special_tokens=False)["input_ids"], of.sep_token_id, *of("b", add_special_tokens=False)["input_ids"], of.sep_token_id]
        print(type(of).__name__, len(of), of.model_max_length, "same ids in", len(cases), "cases")


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        check(sys.argv[2])
    else:
        sys.path.insert(0, sys.argv[1])
        import utils_qa

        os.makedirs(HERE, exist_ok=True)
        wordpiece()
        words()
        squad(utils_qa)
        metrics(sys.argv[2])
        pairs()
        if len(sys.argv) > 3:
            real(sys.argv[3])
