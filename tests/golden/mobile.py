"""Ten losses of transformers' MobileBertForPreTraining with AdamW, of a MobileBertForMaskedLM with our dropout, and of what a BERT drives that is as
wide as the state between the bottlenecks: knowledge distillation, and narrow without any pair.

The files are those of heads.py, train/mobile-CASE.…; parameters have transformers' names, with `bert.` for `mobilebert.`. Two are left out: the matrix of
no numbers by which MobileBERT's decoder is wider than its table, and the map behind the table, which nothing reads where that is as wide. Under `case` there are `bottleneck` and the `eps` of all layer norms, which
transformers fixes for some of them.

Needs the package transformers; `python3 tests/golden/make.py mobile`.
"""

import torch

import heads
from heads import ALPHA, TEMPERATURE
from masked import SIZES

EPS = 1e-5
WIDE = {**heads.WIDE, "eps": EPS}
THIN = {**SIZES, "bottleneck": WIDE["hidden"], "eps": EPS}


def main(store):
    torch.manual_seed(53)
    student = lambda kind, **how: heads.drawn(heads.model(kind, THIN, **how))
    teacher = lambda kind: heads.drawn(heads.model(kind, WIDE))
    case = lambda name, kind, *rest, **about: heads.case(store, f"mobile-{name}", kind, *rest, sizes=THIN, wide=WIDE, **about)
    by_labels = lambda kind: lambda net, _, x: heads.labelled(net, kind, x)
    case("adamw", "pretrain", student("pretrain"), by_labels("pretrain"))
    drops = {"dropout": heads.DROPOUT, "attention_dropout": heads.ATTENTION_DROPOUT}
    case("dropout", "words", student("words", **drops), by_labels("words"), seed=heads.SEED, **drops)
    kd = lambda net, teacher, x: heads.distilled(net, teacher, "pretrain", x, ALPHA, TEMPERATURE)
    case("kd", "pretrain", student("pretrain"), kd, teacher("pretrain"), alpha=ALPHA, temperature=TEMPERATURE)
    for blocks in (1, 2):
        narrow = lambda net, teacher, x, blocks=blocks: heads.imitated(net, teacher, x, blocks)
        case(f"narrow{blocks}", "pretrain", student("pretrain"), narrow, teacher("pretrain"), blocks=blocks)
