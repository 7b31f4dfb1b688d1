/**
 * Exponential moving average without the bias to 0 at its beginning, as TensorBoard's:
 * sₙ = w·sₙ₋₁ + (1−w)·yₙ, shown as sₙ / (1 − wⁿ).
 *
 * What is no number stays none and does not count; w is 0 (off) to 0.999.
 */
export function smooth(
  y: readonly (number | null | undefined)[],
  weight: number,
): (number | null | undefined)[] {
  const w = Math.min(Math.max(weight, 0), 0.999);
  if (w === 0) return [...y];
  let [sum, bias] = [0, 1];
  return y.map((value) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return value;
    sum = w * sum + (1 - w) * value;
    bias *= w;
    return sum / (1 - bias);
  });
}
