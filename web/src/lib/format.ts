/** Numbers, times and sizes as a person reads them. */

const NONE = "–";

/** 12.3 s, 4 min 05 s, 2 h 10 min, 3 d 4 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds) || seconds < 0) return NONE;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [minutes, hours, days] = [
    Math.floor(whole / 60),
    Math.floor(whole / 3600),
    Math.floor(whole / 86400),
  ];
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${days} d ${hours % 24} h`;
}

/** 0.412 ms · 183 ms · 1.83 s. */
export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return value < 999.5 ? `${Number(value.toPrecision(3))} ms` : `${Number((value / 1000).toPrecision(3))} s`;
}

/** 3,890 · 28.7 k · 6.92 M · 4.1 G. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e4],
  ] as const) {
    if (Math.abs(value) >= size) {
      const scaled = value / (unit === "k" ? 1e3 : size);
      return `${Number(scaled.toPrecision(3))} ${unit}`;
    }
  }
  return Number.isInteger(value) ? grouped(value) : String(Number(value.toPrecision(4)));
}

/** 1,234,567. */
export function grouped(value: number): string {
  return value.toLocaleString("en-GB", { maximumFractionDigits: 0 });
}

/** 812 B · 1.2 kB · 34 MB, in powers of 1000 as disks count. */
export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [scaled, unit] = [value, 0];
  while (Math.abs(scaled) >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? scaled : Number(scaled.toPrecision(3))} ${units[unit]}`;
}

/** 83.00 %. */
export function percent(value: number | null | undefined, digits = 2): string {
  return value === null || value === undefined || !Number.isFinite(value)
    ? NONE
    : `${value.toFixed(digits)} %`;
}

/** What D[S, B] is, where a table has it. */
export const DISCREPANCY =
  "Root mean square difference between the outputs of a student and of its seed's teacher on the test data";

/** 83.00 ± 0.95. */
export function spread(
  mean: number | null | undefined,
  deviation: number | null | undefined,
  digits = 2,
): string {
  if (mean === null || mean === undefined) return NONE;
  const text = mean.toFixed(digits);
  return deviation === null || deviation === undefined ? text : `${text} ± ${deviation.toFixed(digits)}`;
}

/** A measured number in few digits: 0.0923, 5.2e-7, 1234. */
export function measure(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** The moment in local time; the date too where it is not today. */
export function moment(seconds: number | null | undefined, now = Date.now()): string {
  if (seconds === null || seconds === undefined) return NONE;
  const at = new Date(seconds * 1000);
  const time = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === new Date(now).toDateString()) return time;
  const date = at.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${date} ${time}`;
}

/** `start_only` as `start-only`: how names of the configuration read in prose. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

/** A word as a button begins with it. */
export function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** A value of a configuration as TOML would write it. */
export function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value === "string") return JSON.stringify(value);
  if (value === null || value === undefined) return "absent";
  return String(value);
}
