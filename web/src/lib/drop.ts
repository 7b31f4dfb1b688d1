import type { Attachment } from "svelte/attachments";

/** Lets something be dropped on an element, which has `data-over` while it is held over it. */
export function dropped(take: (data: DataTransfer) => void): Attachment<HTMLElement> {
  return (element) => {
    const over = (event: DragEvent) => {
      event.preventDefault();
      element.dataset["over"] = "";
    };
    const leave = () => {
      delete element.dataset["over"];
    };
    const drop = (event: DragEvent) => {
      event.preventDefault();
      leave();
      if (event.dataTransfer) take(event.dataTransfer);
    };
    const off = new AbortController();
    element.addEventListener("dragover", over, off);
    element.addEventListener("dragleave", leave, off);
    element.addEventListener("drop", drop, off);
    return () => {
      off.abort();
    };
  };
}
