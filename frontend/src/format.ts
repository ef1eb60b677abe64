/** A length of time in words, to about two figures: "0.4 s", "12 s", "3 min", "2 h 10 min". @param ms milliseconds */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return rest === 0 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 60)} h ${rest} min`;
}

/** Bytes in decimal units: "840 B", "12.3 kB", "269 MB", "1.2 GB". */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 99.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A number to three figures or so: small ones keep their digits, nothing becomes "-0". */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const big = Math.abs(value);
  if (big >= 1e6 || big < 1e-3) return value.toExponential(2).replace("e+", "e");
  if (big >= 1000) return String(Math.round(value));
  return value.toFixed(big >= 100 ? 1 : big >= 10 ? 2 : 3);
}

/**
 * A number in a list whose values go up to `largest`: all with the same decimals, so that the higher one is the larger; what is below
 * half of the last decimal is told from 0 by "<".
 */
export function like(value: number, largest: number): string {
  if (!Number.isFinite(value)) return "–";
  const big = Math.abs(largest);
  if (big >= 1000 || big < 0.01 || !Number.isFinite(big)) return figure(value);
  const decimals = big >= 100 ? 1 : big >= 10 ? 2 : 3;
  const text = value.toFixed(decimals);
  if (Number(text) !== 0 || value === 0) return Number(text) === 0 ? "0" : text;
  return `${value < 0 ? ">-" : "<"}${(10 ** -decimals).toFixed(decimals)}`;
}

/** Says whether a message begins with a word, which takes a capital letter, and not with a path or a name, which has its own spelling. */
export function isSentence(message: string): boolean {
  return /^[a-z]+(?=[\s,;'’]|:\s|$)/.test(message);
}

/** A share of 1 as per cent: "12.3%". */
export function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1%";
  return `${value >= 99.95 || value < 9.95 ? value.toFixed(1) : value.toFixed(1)}%`;
}

/** A time as this browser writes it: the hour today, else the day and the hour. @param iso ISO 8601 */
export function when(iso: string, now: Date = new Date()): string {
  const date = new Date(iso);
  const hour = date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === now.toDateString()) return hour;
  const year = date.getFullYear() === now.getFullYear() ? {} : ({ year: "numeric" } as const);
  return `${date.toLocaleDateString(undefined, { day: "numeric", month: "short", ...year })} ${hour}`;
}

/** A loss or a change of it in nats: three decimals. */
export function nats(value: number): string {
  return value.toFixed(3).replace("-", "−");
}

/** A change of a loss with its sign; one that rounds to nothing has none. */
export function signedNats(value: number): string {
  const text = nats(value).replace(/^−(0\.000)$/, "$1");
  return value > 0 && text !== "0.000" ? `+${text}` : text;
}

/** A weight as it is written beside a token. Half precision has none between zero and 6e-8. */
export function weightText(weight: number): string {
  if (weight < 1e-7) return "<1e−7";
  if (weight < 0.001) return weight.toExponential(1).replace("e-", "e−");
  return weight < 1 ? weight.toFixed(3) : weight.toPrecision(3);
}

/** A token's text with its whitespace made visible: · for spaces, ↵ for line ends, ⇥ for tabs. */
export function visible(token: string): string {
  if (token === "") return "∅";
  return token.replaceAll(" ", "·").replaceAll("\r", "␍").replaceAll("\n", "↵").replaceAll("\t", "⇥");
}
