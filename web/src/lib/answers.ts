import { ApiError, api } from "../api/client";
import type { AnswerSource } from "./review";

/** What the server knows of the answers of a run's members. */
export const answersOf = (run: string): AnswerSource => ({
  review: (member, signal) =>
    api.review(run, member, signal).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      return `${error.message}.${error.body.hint ? ` ${error.body.hint}.` : ""}`;
    }),
  versus: (first, second, signal) => api.versus(run, first, second, signal),
  pictures: async (places, signal) => (await api.pictures(run, places, signal)).pictures,
});
