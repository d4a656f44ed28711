// Runs the end-to-end tests: `node tests/e2e/run.mjs [part of a file's name]…`. Builds nothing.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

function stop(advice) {
  console.error(advice);
  process.exit(2);
}

if (!existsSync(join(here, 'node_modules'))) stop('The packages are missing: run `npm ci --prefix tests/e2e` first.');
const { ARTEFACTS, missingBinary } = await import('./program.mjs');
const missing = missingBinary();
if (missing) stop(missing);

const wanted = process.argv.slice(2);
const files = readdirSync(here)
  .filter((name) => name.endsWith('.test.mjs') && (wanted.length === 0 || wanted.some((part) => name.includes(part))))
  .sort()
  .map((name) => join(here, name));
if (files.length === 0) stop(`No test file is named like ${wanted.join(' or ')}.`);

// A screenshot of an earlier failure would mislead.
if (wanted.length === 0) rmSync(ARTEFACTS, { recursive: true, force: true });

const { status } = spawnSync(
  process.execPath,
  ['--test', '--test-reporter=spec', '--test-concurrency=2', ...files],
  { stdio: 'inherit' },
);
process.exit(status ?? 1);
