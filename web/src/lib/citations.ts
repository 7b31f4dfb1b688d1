/**
 * What the paper has beside each option: Zhou et al., "Go Wide, Then Narrow: Efficient Training of Deep Thin Networks", ICML 2020.
 *
 * A key is a path of the configuration; `*` stands for one part. The first that fits counts.
 */
export interface Citation {
  says: string;
  where: string;
}

export const PAPER = "Zhou et al., Go Wide, Then Narrow, ICML 2020";

const RESNET = "§5.1.1, vanilla training setting";
const WIN = "§5.1.1, WIN setting";
const BERT = "§5.2.1";

const CITATIONS: [string, Citation][] = [
  ["methods", { says: "vanilla, KD and WIN", where: "Tables 2, 4 and 5" }],
  ["model.width", { says: "1, ½ and ¼ of every layer", where: "§5.1.1, models" }],
  ["model.blocks", { says: "four blocks, cut where the resolution changes", where: WIN }],
  ["teacher.factor", { says: "2× in Tables 1 and 2; the text has 4×, compared in Table 3", where: "§5.1.1" }],
  ["teacher.widen", { says: "the channels of the 3×3 convolutions", where: "§5.1.1, models" }],
  ["teacher.from", { says: "an existing trained big model may be the wide network", where: "§2" }],
  ["teacher.layer_map", { says: "each of 12 layers is mapped to two adjacent ones of 24", where: "§2" }],
  ["narrow.epochs", { says: "10 a block", where: WIN }],
  ["narrow.steps", { says: "10k for the first block of BERT, 20k for the second, …", where: BERT }],
  ["narrow.lr", { says: "0.1, cosine to 0", where: WIN }],
  ["narrow.schedule", { says: "cosine", where: WIN }],
  ["narrow.optimizer", { says: "SGD", where: WIN }],
  ["narrow.momentum", { says: "0.9", where: WIN }],
  ["narrow.weight_decay", { says: "none: a thin network is regularised by its shape", where: WIN }],
  ["tune.epochs", { says: "50, so that 4 · 10 + 50 = 90 as for vanilla", where: WIN }],
  ["tune.lr", { says: "0.01, cosine to 0", where: WIN }],
  ["tune.schedule", { says: "cosine", where: WIN }],
  ["tune.weight_decay", { says: "none: a thin network is regularised by its shape", where: WIN }],
  [
    "tune.target",
    { says: "the teacher's logits (KL) for ResNet, the labels for BERT", where: "§5.1.1, §5.2.1" },
  ],
  [
    "win.start",
    {
      says: "random weights; the analysis draws m neurons of the teacher's layer",
      where: "§2; Assumption 3.4",
    },
  ],
  ["win.discrepancy", { says: "mean squared error; KL is named as well", where: `${WIN}; §2` }],
  ["win.restarts", { says: "several, the one that best mimics the teacher is kept", where: "§2, stage 2" }],
  [
    "win.tune_restarts",
    { says: "optional, the one with the least training error is kept", where: "§2, stage 3" },
  ],
  ["win.freeze", { says: "off: step i trains all of S̄₁ … S̄ᵢ", where: "Algorithm 1" }],
  ["win.merge", { says: "after fine-tuning 85.5 / 91.8, before it 85.1 / 91.5 (EM / F1)", where: "Table 6" }],
  ["*.epochs", { says: "90", where: RESNET }],
  ["*.batch", { says: "256 for ResNet, 512 for BERT", where: "§5.1.1, §5.2.1" }],
  ["*.optimizer", { says: "SGD for ResNet, Adam for BERT", where: "§5.1.1, §5.2.1" }],
  ["*.lr", { says: "0.1 for ResNet, 1e-4 for BERT", where: "§5.1.1, §5.2.1" }],
  ["*.schedule", { says: "÷ 10 at epochs 30, 60 and 80; linear for BERT", where: "§5.1.1, §5.2.1" }],
  ["*.warmup", { says: "5 epochs; 10,000 steps for BERT", where: "§5.1.1, §5.2.1" }],
  ["*.milestones", { says: "30, 60, 80", where: RESNET }],
  ["*.gamma", { says: "0.1", where: RESNET }],
  ["*.weight_decay", { says: "1e-4; 0.01 for BERT", where: "§5.1.1, §5.2.1" }],
  ["*.momentum", { says: "0.9", where: RESNET }],
  ["*.beta1", { says: "0.9", where: BERT }],
  ["*.beta2", { says: "0.999", where: BERT }],
];

/** The baselines that the paper does not have, or whose settings it does not give. */
const SILENT = new Set(["kd", "fitnets", "start_only"]);

export function citation(path: string): Citation | undefined {
  const [section, ...rest] = path.split(".");
  if (section !== undefined && SILENT.has(section)) return undefined;
  const found = CITATIONS.find(([key]) => key === path || (rest.length === 1 && key === `*.${rest[0]}`));
  // What stands for all stages does not fit tables that are none.
  return found && found[0].startsWith("*") && !STAGES.has(section ?? "") ? undefined : found?.[1];
}

const STAGES = new Set(["wide", "vanilla", "narrow", "tune"]);
