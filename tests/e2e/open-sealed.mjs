import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { compactDecrypt } from 'jose';

/** The tokens in the `data` of an event, by the private key (PKCS#8, PEM) in that file. */
export async function openSealed(data, keyFile) {
  const key = createPrivateKey(readFileSync(keyFile));
  const { plaintext } = await compactDecrypt(data.jwe, key, {
    keyManagementAlgorithms: ['RSA-OAEP-256', 'ECDH-ES'],
    contentEncryptionAlgorithms: ['A256GCM'],
  });
  return JSON.parse(new TextDecoder().decode(plaintext));
}
