/** Seconds since 1970, read again each second, for times that run on by themselves. */
class Clock {
  now = $state(Date.now() / 1000);

  start(): () => void {
    const timer = setInterval(() => {
      this.now = Date.now() / 1000;
    }, 1000);
    return () => {
      clearInterval(timer);
    };
  }
}

export const clock = new Clock();
