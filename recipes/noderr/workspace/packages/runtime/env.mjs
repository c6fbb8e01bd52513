// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';

/** EX_USAGE of sysexits.h: starting again without a change of settings is pointless. */
export const EXIT_BAD_SETTINGS = 64;

/**
 * One setting. The environment variable has the name of its key in the spec.
 * A variable set to the empty string counts as not set, because compose files
 * and templates pass an unset variable on that way.
 *
 * @typedef {object} Setting
 * @property {boolean} [required] a problem is reported when there is no value
 * @property {string} [default] text used when there is no value
 * @property {string} [fallbackFile] file read when the variable is not set; may be missing
 * @property {RegExp} [pattern] what the text must match
 * @property {(text: string) => any} [parse] turns text into the value; its error
 *   message is printed, so it must not repeat a secret
 * @property {boolean} [secret] may also come from the file named by NAME_FILE;
 *   the value is never printed
 */

/** @typedef {Record<string, Setting>} Spec */
/** @typedef {Record<string, string | undefined>} Environment */

/**
 * Read all settings and collect every problem, so that an operator sees the
 * whole list at the first start instead of one problem per restart.
 *
 * @param {Spec} spec
 * @param {Environment} [env]
 * @returns {{ values: Record<string, any>, problems: string[] }}
 */
export function readEnv(spec, env = process.env) {
  /** @type {Record<string, any>} */
  const values = {};
  /** @type {string[]} */
  const problems = [];
  for (const [name, setting] of Object.entries(spec)) {
    try {
      values[name] = readSetting(name, setting, env);
    } catch (error) {
      problems.push(`${name} ${messageOf(error)}`);
    }
  }
  return { values, problems };
}

/**
 * Read all settings, or print one message and end the process.
 *
 * @param {string} service name printed in front of the problems
 * @param {Spec} spec
 * @returns {Record<string, any>}
 */
export function loadEnv(service, spec) {
  const { values, problems } = readEnv(spec);
  if (problems.length === 0) return values;
  const head = `${service}: ${problems.length} problem(s) in the settings`;
  process.stderr.write([head, ...problems].join('\n  - ') + '\n');
  process.exit(EXIT_BAD_SETTINGS);
}

/**
 * @param {string} name
 * @param {Setting} setting
 * @param {Environment} env
 */
function readSetting(name, setting, env) {
  const text = findText(name, setting, env);
  if (text === undefined) {
    if (!setting.required) return undefined;
    throw new Error(`is not set${setting.secret ? ` (nor is ${name}_FILE)` : ''}`);
  }
  if (setting.pattern && !setting.pattern.test(text)) {
    const shown = setting.secret ? '' : ` (got ${JSON.stringify(text)})`;
    throw new Error(`must match ${setting.pattern.source}${shown}`);
  }
  return setting.parse ? setting.parse(text) : text;
}

/**
 * @param {string} name
 * @param {Setting} setting
 * @param {Environment} env
 * @returns {string | undefined}
 */
function findText(name, setting, env) {
  const text = env[name] || undefined;
  const secretFile = setting.secret ? env[`${name}_FILE`] || undefined : undefined;
  if (text !== undefined && secretFile !== undefined) {
    throw new Error(`and ${name}_FILE are both set; set one of them`);
  }
  if (secretFile !== undefined) {
    const content = readTrimmed(secretFile);
    if (content === undefined) throw new Error(`cannot be read: ${secretFile} does not exist`);
    if (content === '') throw new Error(`cannot be read: ${secretFile} is empty`);
    return content;
  }
  if (text !== undefined) return text;
  const fallback = setting.fallbackFile && readTrimmed(setting.fallbackFile);
  return fallback || setting.default;
}

/**
 * @param {string} path
 * @returns {string | undefined} undefined when the file does not exist
 */
function readTrimmed(path) {
  try {
    // Editors and `echo` end a file with a newline that is not part of the value.
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    const code = /** @type {NodeJS.ErrnoException} */ (error).code;
    if (code === 'ENOENT') return undefined;
    throw new Error(`cannot be read: ${path}: ${code}`);
  }
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
