import { sentence } from "../api/client";

/** Something that the user should hear of once, wherever on the page they are. */
export interface Saying {
  id: number;
  tone: "good" | "bad";
  message: string;
  hint?: string | null | undefined;
  /** Takes back what was done. */
  undo?: () => void;
}

class Says {
  list: Saying[] = $state([]);
  #next = 0;

  good(message: string): void {
    const id = this.#say({ tone: "good", message });
    setTimeout(() => {
      this.drop(id);
    }, 5000);
  }

  /** What was done, as long as it can be taken back. */
  undoable(message: string, forMs: number, undo: () => void): void {
    const id = this.#say({ tone: "good", message, undo });
    setTimeout(() => {
      this.drop(id);
    }, forMs);
  }

  /** An error stays until it is closed. */
  bad(error: unknown): void {
    this.#say({ tone: "bad", ...sentence(error) });
  }

  drop(id: number): void {
    this.list = this.list.filter((saying) => saying.id !== id);
  }

  #say(saying: Omit<Saying, "id">): number {
    const id = this.#next++;
    this.list = [...this.list.slice(-3), { id, ...saying }];
    return id;
  }
}

export const says = new Says();
