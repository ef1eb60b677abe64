import type { HeadRolesResult } from "../../common/api/roles.ts";
import { HEAD_ROLES, ROLE_DEFINITIONS } from "../../common/heads/roles.ts";
import { bold, dim, number, right, table } from "./format.ts";

/** Roles of heads for people: one row a role, with its numbers. */
export function rolesText(result: HeadRolesResult, ref: string): string {
  const { metric, clean, corrupt, pairs, heads, applies, notes = [] } = result;
  const rows = heads.flatMap(({ head, roles }) =>
    roles.map(({ role, evidence }) => {
      const value = (name: string): string => {
        const found = evidence.find(({ measure }) => measure === name);
        return found ? number(found.value) : "";
      };
      return [head, role, ...["attention", "direct", "copying", "queries"].map(value)];
    }),
  );
  const absent = HEAD_ROLES.filter((role) => applies[role] === 0);
  return [
    `${bold("roles of heads")} in ${ref}, ${pairs === 1 ? "one pair" : `${pairs} pairs`}: ${metric} ${number(clean)} clean, ${number(corrupt)} corrupt`,
    rows.length === 0
      ? "  No head looks at the places of a role."
      : table(
          ["head", "role", ...["attention", "direct", "copying", "queries"].map((name) => right(name))],
          rows,
          "  ",
        ),
    ...absent.map((role) => {
      const { from, at } = ROLE_DEFINITIONS[role];
      return dim(`  no ${role}: no prompt has both ${from} and ${at}`);
    }),
    ...notes.map((note) => dim(`  ${note}`)),
  ].join("\n");
}
