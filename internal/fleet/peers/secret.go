package peers

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// minSecret is how many bytes a secret has at the least, and minVariety how many
	// different ones: 32 random bytes have some more, in whatever spelling.
	minSecret  = 32
	minVariety = 10
	// purpose keeps the key apart from what else may be made of the secret.
	purpose = "pullgate peers v1"
)

// CheckSecret refuses a secret that can be guessed. The error does not show it.
func CheckSecret(secret string) error {
	variety := map[byte]bool{}
	for i := range len(secret) {
		variety[secret[i]] = true
	}
	switch {
	case len(secret) < minSecret:
		return fmt.Errorf("the secret has %d bytes, and %d random ones are the least: make one with openssl rand -hex 32", len(secret), minSecret)
	case len(variety) < minVariety:
		return errors.New("the secret is not random: make one with openssl rand -hex 32")
	}
	return nil
}

// credentials is the one key of a fleet, as both ends of a connection use it.
type credentials struct {
	certificate tls.Certificate
	public      ed25519.PublicKey
}

// newCredentials derives the key from the secret. What else the certificate says is for
// nobody: it is the key that counts.
func newCredentials(secret string) (*credentials, error) {
	if err := CheckSecret(secret); err != nil {
		return nil, err
	}
	seed, err := hkdf.Key(sha256.New, []byte(secret), nil, purpose, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	c := &credentials{public: key.Public().(ed25519.PublicKey)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, c.public, key)
	if err != nil {
		return nil, err
	}
	c.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return c, nil
}

// config returns the TLS of either end. refused is told of who shows another key.
func (c *credentials) config(refused func()) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{c.certificate},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, //nolint:gosec // the key is pinned below, and names mean nothing
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 1 && c.public.Equal(s.PeerCertificates[0].PublicKey) {
				return nil
			}
			refused()
			return errSecret
		},
	}
}

var errSecret = errors.New("the other end has another secret")
