import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import Libsql from "libsql";
import { HeadscopeError } from "../common/errors.ts";
import { FULL_REMEDY, fileError } from "./file-error.ts";
import { APPLICATION_ID, MIGRATIONS } from "./schema.ts";

/** A value that SQLite stores; other types abort the process inside the library, so nothing else gets past `Database`. */
export type SqlValue = number | string | null;

/** A row, by the names of its columns. */
export type Row = Readonly<Record<string, SqlValue>>;

/** Milliseconds that a statement waits for another process's transaction. */
const BUSY_TIMEOUT = 10_000;
/** Milliseconds between tries where SQLite does not wait by itself. */
const BUSY_PAUSE = 10;

/** A connection to headscope's SQLite file whose errors are written for people. */
export class Database {
  readonly #connection: Libsql.Database;
  readonly #statements = new Map<string, Libsql.Statement>();
  readonly #label: string;
  #depth = 0;

  constructor(connection: Libsql.Database, label: string) {
    this.#connection = connection;
    this.#label = label;
  }

  /** Runs a statement, prepared once, and gives its rows. */
  all(sql: string, ...values: SqlValue[]): Row[] {
    for (const value of values) {
      if (value !== null && typeof value !== "number" && typeof value !== "string")
        throw new TypeError(`SQLite cannot store ${typeof value}`);
    }
    try {
      let statement = this.#statements.get(sql);
      if (statement === undefined) {
        statement = this.#connection.prepare(sql);
        this.#statements.set(sql, statement);
      }
      // Values go as one array: the library takes a lone null for named parameters.
      return statement.all(values) as Row[];
    } catch (error) {
      throw databaseError(error, this.#label);
    }
  }

  /** The first row of a statement, or undefined. */
  get(sql: string, ...values: SqlValue[]): Row | undefined {
    return this.all(sql, ...values)[0];
  }

  /**
   * Does work in one transaction that has the write lock from its start; inside another, as a part of it.
   * Either all that `work` wrote is there afterwards or, when it throws, nothing of it.
   */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.#exec("BEGIN IMMEDIATE");
    this.#depth++;
    try {
      const result = work();
      this.#exec("COMMIT");
      return result;
    } catch (error) {
      // A full disk has rolled it back already; the library's own transaction() would then hide why.
      if (this.#connection.inTransaction) this.#exec("ROLLBACK");
      throw error;
    } finally {
      this.#depth--;
    }
  }

  close(): void {
    // The library keeps the files open until its statements are collected, so SQLite's own last checkpoint never runs.
    try {
      this.all("PRAGMA wal_checkpoint(PASSIVE)");
    } finally {
      this.#statements.clear();
      this.#connection.close();
    }
  }

  #exec(sql: string): void {
    try {
      this.#connection.exec(sql);
    } catch (error) {
      throw databaseError(error, this.#label);
    }
  }
}

/**
 * Opens a SQLite file in WAL mode, makes it and its folder where they are missing, and brings its tables up to date.
 * @param path of the file, or ":memory:"
 * @throws HeadscopeError when the folder cannot be made or written, or the file is corrupt, another program's, or newer
 */
export function openDatabase(path: string): Database {
  if (path !== ":memory:") {
    makeFolder(dirname(path));
    for (const file of [path, `${path}-wal`, `${path}-shm`, `${path}-journal`]) refuseSpecial(file);
  }
  let connection: Libsql.Database | undefined;
  try {
    connection = new Libsql(path, { timeout: BUSY_TIMEOUT });
    useWal(connection);
    // FULL: a checkpoint that was reported stays reported, also when the power fails.
    for (const setting of ["synchronous = FULL", "foreign_keys = ON"]) connection.prepare(`PRAGMA ${setting}`).all();
    const database = new Database(connection, path);
    migrate(database, path);
    return database;
  } catch (error) {
    connection?.close();
    throw databaseError(error, path);
  }
}

/** Turns on WAL. SQLite does not wait here when another process makes the same file just now, so we do. */
function useWal(connection: Libsql.Database): void {
  const end = performance.now() + BUSY_TIMEOUT;
  for (;;) {
    try {
      connection.prepare("PRAGMA journal_mode = WAL").all();
      return;
    } catch (error) {
      const busy = /^SQLITE_(BUSY|LOCKED)/.test((error as { code?: string }).code ?? "");
      if (!busy || performance.now() > end) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_PAUSE);
    }
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw fileError(error, `the data folder ${folder} cannot be made`);
  }
  if (!statSync(folder).isDirectory()) throw fileError({ code: "ENOTDIR" }, `the data folder ${folder} cannot be used`);
}

/** SQLite would wait at a pipe until somebody writes to it. */
function refuseSpecial(path: string): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined || stats.isFile()) return;
  throw new HeadscopeError("input", `${path} is no plain file`, {
    remedy: "move it away, or set HEADSCOPE_HOME to another folder",
  });
}

function pragma(database: Database, name: string): number {
  return Number(database.get(`PRAGMA ${name}`)?.[name] ?? 0);
}

function migrate(database: Database, path: string): void {
  const version = pragma(database, "user_version");
  if (version === MIGRATIONS.length && pragma(database, "application_id") === APPLICATION_ID) return;
  database.transaction(() => {
    // Another process may have been here while we waited for the lock.
    const from = pragma(database, "user_version");
    const ours = pragma(database, "application_id") === APPLICATION_ID;
    if (!ours && (from > 0 || database.get("SELECT name FROM sqlite_master LIMIT 1") !== undefined))
      throw new HeadscopeError("mismatch", `${path} is another program's database`, {
        remedy: "set HEADSCOPE_HOME to a folder of headscope's own",
      });
    if (from > MIGRATIONS.length)
      throw new HeadscopeError(
        "unsupported",
        `${path} was written by a newer headscope (format ${from}; this version knows up to ${MIGRATIONS.length})`,
        { remedy: "update headscope, or set HEADSCOPE_HOME to another folder" },
      );
    for (const migration of MIGRATIONS.slice(from)) for (const statement of migration) database.all(statement);
    database.all(`PRAGMA application_id = ${APPLICATION_ID}`);
    database.all(`PRAGMA user_version = ${MIGRATIONS.length}`);
  });
}

/** An error of SQLite as one line for the person who must act; anything that is no database error stays as it is. */
function databaseError(error: unknown, path: string): unknown {
  if (error instanceof HeadscopeError || !(error instanceof Error)) return error;
  const { code = "" } = error as { code?: string };
  const cause = { cause: error };
  const folder = dirname(path);
  if (code.startsWith("SQLITE_FULL"))
    return new HeadscopeError("input", `the disk of ${path} is full`, { remedy: FULL_REMEDY, ...cause });
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code))
    return new HeadscopeError("corrupt", `${path} is not a sound database (${error.message})`, {
      remedy: "move it away: a new one is made, and the checkpoints in runs/ stay usable as run:ID@STEP",
      ...cause,
    });
  if (/^SQLITE_(BUSY|LOCKED)/.test(code))
    return new HeadscopeError("input", `${path} is held by another process for over ${BUSY_TIMEOUT / 1000} s`, {
      remedy: "wait for that process or end it, then run again",
      ...cause,
    });
  if (/^SQLITE_(READONLY|CANTOPEN|PERM|AUTH)/.test(code) || /^ConnectionFailed/.test(error.message))
    return new HeadscopeError("input", `${path} cannot be opened for writing`, {
      remedy: `make the folder ${folder} writable, or set HEADSCOPE_HOME to another one`,
      ...cause,
    });
  if (code.startsWith("SQLITE_IOERR"))
    return new HeadscopeError("input", `${path} cannot be read or written (${error.message})`, {
      remedy: `look whether the disk of ${folder} is full or failing, then run again`,
      ...cause,
    });
  return error;
}
