/** What the page shows of a member's answers to the test pictures. */
import type { Review, ShownPicture, Versus } from "../api/types";
import type { Image } from "../plan/image";

/** A test picture with its class, as a file at an address or as bytes. */
export type Shown = ShownPicture | (Omit<ShownPicture, "url"> & { image: Image });

/** Who knows what the members of a run say of its test pictures: the server, or the engine in this tab. */
export interface AnswerSource {
  /** What one says, or a sentence where it has no answers. */
  review: (member: string, signal: AbortSignal) => Promise<Review | string>;
  /** Two, picture by picture. */
  versus: (first: string, second: string, signal: AbortSignal) => Promise<Versus>;
  /** Pictures by their places. */
  pictures: (places: number[], signal: AbortSignal) => Promise<Shown[]>;
}

/** Pictures of a class that are said to be of one. */
export interface Cell {
  label: number;
  said: number;
  pictures: number;
  /** Of the class's pictures, from 0 to 1. */
  share: number;
  words: string;
}

/** The name of a class, or its number. */
export const className = (review: Pick<Review, "classes">, index: number): string =>
  review.classes[index]?.name ?? String(index);

/** The cells of a confusion matrix in which there are any. */
export function cells(review: Pick<Review, "classes" | "confusion">): Cell[] {
  return review.confusion.map(([label = 0, said = 0, pictures = 0]) => {
    const of = review.classes[label]?.count ?? 0;
    const words = `${className(review, label)} said to be ${className(review, said)}: ${pictures} of ${of}`;
    return { label, said, pictures, share: of > 0 ? pictures / of : 0, words };
  });
}

/** For each class, the other one that it is taken for most often, the first of several; none where it never is. */
export function takenFor(review: Pick<Review, "classes" | "confusion">): (Cell | null)[] {
  const most: (Cell | null)[] = review.classes.map(() => null);
  for (const cell of cells(review)) {
    const known = most[cell.label];
    if (cell.label !== cell.said && (!known || cell.pictures > known.pictures)) most[cell.label] = cell;
  }
  return most;
}

/** The teacher of a seed; a teacher from elsewhere is one for all seeds. */
export function ofSeed<M extends { method?: string | null; seed: number }>(
  members: readonly M[],
  seed: number,
): M | undefined {
  const teachers = members.filter(({ method }) => !method);
  return teachers.find((teacher) => teacher.seed === seed) ?? teachers[0];
}

/**
 * `count` different places of `there`, evenly over all of them; another turn has others. Where there is room a step is one longer, as data often
 * have their classes in turn.
 */
export function evenly(there: number, count: number, turn: number): number[] {
  const picked = Math.min(count, there);
  const step = Math.max(1, Math.floor(there / Math.max(1, picked)));
  const longer = step > picked ? step + 1 : step;
  return Array.from({ length: picked }, (_, k) => (k * longer + turn) % there);
}

/** The student that a run keeps: of WIN, else of its first method, the one with the least training error, once it is done. */
export function kept<M extends { method?: string | null; finished?: boolean; train_error?: number | null }>(
  methods: readonly string[],
  members: readonly M[],
): M | undefined {
  const wanted = methods.includes("win") ? "win" : methods[0];
  const error = (member: M) => member.train_error ?? Infinity;
  const done = members.filter(({ method, finished }) => finished && method === wanted);
  return done.reduce<M | undefined>(
    (best, one) => (best && error(best) <= error(one) ? best : one),
    undefined,
  );
}
