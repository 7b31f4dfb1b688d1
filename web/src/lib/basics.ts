/** Keys that most runs are changed by; all others are in the advanced part of their section. */
const BASICS = new Set([
  "methods",
  "seeds",
  "device",
  "data.kind",
  "data.path",
  "data.train_count",
  "data.test_count",
  "data.size",
  "model.arch",
  "model.hidden",
  "model.blocks",
  "model.activation",
  "model.width",
  "model.base",
  "model.unit",
  "model.stem",
  "model.layers",
  "model.heads",
  "model.inner",
  "text.vocab",
  "text.vocab_size",
  "text.length",
  "text.nsp",
  "teacher.factor",
  "teacher.widen",
  "teacher.from",
  "teacher.head",
  "kd.alpha",
  "kd.temperature",
  "fitnets.hint_epochs",
  "tune.target",
  "win.start",
  "win.discrepancy",
  "win.restarts",
  "win.tune_restarts",
  "win.merge",
]);
const OF_STAGES = new Set(["epochs", "batch", "lr", "optimizer", "schedule"]);
const STAGES = new Set(["wide", "vanilla", "kd", "fitnets", "narrow", "tune"]);

export function isBasic(path: string): boolean {
  const [section = "", key = ""] = path.split(".");
  return BASICS.has(path) || (STAGES.has(section) && OF_STAGES.has(key));
}

/** Keys by which somebody begins: what is learnt from, the student, how much wider its teacher is, and by what methods. */
const SIMPLE = new Set([
  "methods",
  "seeds",
  "data.kind",
  "data.path",
  "data.size",
  "model.arch",
  "model.hidden",
  "model.base",
  "model.width",
  "model.layers",
  "model.blocks",
  "teacher.factor",
  "wide.epochs",
  "wide.steps",
]);

export function isSimple(path: string): boolean {
  return SIMPLE.has(path);
}

/** Keys that matter once another one is set. */
const AFTER: Record<string, string> = { "teacher.head": "teacher.from" };

export function after(path: string): string | undefined {
  return AFTER[path];
}

const STARTED = ["embeddings_only", "start_only", "win"];
const TAUGHT = ["kd", "fitnets", ...STARTED];
/** The methods that go by a section; those that are not here are every run's. */
const METHODS: Record<string, string[]> = {
  teacher: TAUGHT,
  wide: TAUGHT,
  win: STARTED,
  narrow: ["win"],
  tune: STARTED,
  vanilla: ["vanilla"],
  kd: ["kd"],
  fitnets: ["fitnets"],
};

/** Whether a run by these methods goes by a section. */
export function needed(section: string, methods: unknown): boolean {
  const of = METHODS[section];
  return !of || !Array.isArray(methods) || methods.some((method) => of.includes(String(method)));
}

/** Sections in the order of a run, with the names that a person reads. */
export const GROUPS: { name: string; sections: string[] }[] = [
  { name: "Run", sections: [""] },
  { name: "Data", sections: ["data", "data.augment", "text"] },
  { name: "Student", sections: ["model"] },
  { name: "Teacher", sections: ["teacher", "wide"] },
  { name: "Go wide, then narrow", sections: ["win", "narrow", "tune"] },
  { name: "Baselines", sections: ["vanilla", "kd", "fitnets", "start_only"] },
];
