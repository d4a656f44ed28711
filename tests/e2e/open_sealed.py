import json
import sys

from jwcrypto import jwe, jwk


def open_sealed(data, key_file):
    """The tokens in the `data` of an event, by the private key (PKCS#8, PEM) in that file."""
    with open(key_file, "rb") as file:
        key = jwk.JWK.from_pem(file.read())
    sealed = jwe.JWE(algs=["RSA-OAEP-256", "ECDH-ES", "A256GCM"])
    sealed.deserialize(data["jwe"], key)
    return json.loads(sealed.payload)


if __name__ == "__main__":
    print(json.dumps(open_sealed(json.load(sys.stdin), sys.argv[1])))
