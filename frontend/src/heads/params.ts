import { choice, number, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";
import { ORDERS } from "./finder/finder.ts";

/** The probe that is to be measured. */
export const probeParam = urlParam("probe", text("induction"));
/** The metric across the scatter plot; "" for the second there is. */
export const againstParam = urlParam("across", text());
export const findParam = urlParam("find", text());
/** First and last layer of the finder; -1 stands for the model's last. */
export const fromParam = urlParam("from", number(0, { least: 0, whole: true }));
export const toParam = urlParam("to", number(-1, { least: -1, whole: true }));
/** Least value that the finder shows; "" for all. */
export const leastParam = urlParam("least", text());
export const orderParam = urlParam("order", choice(ORDERS, "highest"));
export const listParam = urlParam("list", choice(["heads", "layers"], "heads"));
