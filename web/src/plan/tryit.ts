import type { TextModel } from "../api/types";
import { get, Network, type Source } from "./network";
import { parseConfig, PictureModel } from "./pictures";
import { MaskModel } from "./text/masks";
import { QuestionModel } from "./text/questions";
import { Tokenizer } from "./text/wordpiece";

/** A model on this browser's device; `reads` says of what kind. */
export type Model = PictureModel | MaskModel | QuestionModel;

/** Fetches a model and makes it ready. */
export async function open(source: Source): Promise<Model> {
  const network = Network.open(source);
  // It may fail while the configuration is still under way: that is heard when it is awaited.
  network.catch(() => undefined);
  try {
    const config: unknown = await (await get(source.config)).json();
    if (!isOnText(config)) return new PictureModel(await network, parseConfig(config));
    const tokenizer = Tokenizer.parse(await (await get(source.tokenizer)).json());
    const opened = await network;
    return opened.extent("places") > 0
      ? new MaskModel(opened, tokenizer)
      : new QuestionModel(opened, tokenizer, config.taper?.unanswerable === true);
  } catch (error) {
    // Whatever comes of it, nobody will use it.
    void network.then(
      (opened) => {
        opened.close();
      },
      () => undefined,
    );
    throw error;
  }
}

/** transformers' `config.json` says so; a model on pictures has another one. */
function isOnText(config: unknown): config is TextModel {
  return typeof config === "object" && config !== null && "model_type" in config;
}
