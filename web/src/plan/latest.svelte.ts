/** An error as a sentence. */
export const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What was asked for last, and its answer: an earlier one may come later. */
export class Latest<Answer> {
  answer: Answer | null = $state.raw(null);
  /** Why what was asked last has no answer. */
  problem: string | null = $state(null);
  busy = $state(false);
  #asked = 0;

  /** Has `work` answer; null is no news. `wanted` says whether nobody has asked for something else since. */
  async ask(work: (wanted: () => boolean) => Promise<Answer | null>): Promise<void> {
    const mine = ++this.#asked;
    const wanted = () => mine === this.#asked;
    [this.busy, this.problem] = [true, null];
    try {
      const found = await work(wanted);
      if (wanted()) this.answer = found;
    } catch (error) {
      if (wanted()) [this.answer, this.problem] = [null, words(error)];
    } finally {
      if (wanted()) this.busy = false;
    }
  }

  /** Nothing is wanted any more. */
  leave(): void {
    this.#asked++;
  }
}
