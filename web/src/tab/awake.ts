/** Asks the machine not to sleep while this page is seen and `wanted`. Answers how to stop. */
export function awake(wanted: () => boolean): { look: () => void; stop: () => void } {
  let held: WakeLockSentinel | null = null;
  let asking = false;
  const look = async () => {
    const needed = wanted() && !document.hidden;
    if (!needed) {
      await held?.release();
      held = null;
    } else if ((!held || held.released) && !asking && "wakeLock" in navigator) {
      asking = true;
      // A battery that is low refuses; the run goes on all the same.
      held = await navigator.wakeLock.request("screen").catch(() => null);
      asking = false;
      if (!wanted()) await held?.release();
    }
  };
  const listen = () => void look();
  document.addEventListener("visibilitychange", listen);
  return {
    look: listen,
    stop: () => {
      document.removeEventListener("visibilitychange", listen);
      void held?.release();
    },
  };
}
