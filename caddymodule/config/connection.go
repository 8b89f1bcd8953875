package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Connection says how an upstream is connected to.
type Connection struct {
	// Private, loopback or link-local networks (CIDR) that the upstream's
	// redirects and token servers may lead to, and link-local ones that its URLs may
	// lie at. Default: none but the address and port of the connection that leads
	// there, and any port of an address that stands in url; the loopback only if it
	// stands there. Addresses of cloud metadata are never connected to.
	AllowAddress []string `json:"allow_address,omitempty"`

	// Files with certificate authorities (PEM) to trust besides the system's.
	// They are read when the configuration is loaded.
	TLSCA []string `json:"tls_ca,omitempty"`

	// The certificate to authenticate with.
	TLSClient *TLSClient `json:"tls_client,omitempty"`

	// URL of the HTTP proxy to connect through, which resolves names and decides which
	// addresses may be reached. One with a password has to be a placeholder ({env.*}, {file.*}). Default: the environment's, HTTPS_PROXY
	// and so on.
	Proxy string `json:"proxy,omitempty"`
}

// TLSClient is a client certificate.
type TLSClient struct {
	// File with the certificate and its chain (PEM).
	Certificate string `json:"certificate"`
	// File with the private key (PEM).
	Key string `json:"key"`
}

func (c *Connection) loadAuthorities(repl *caddy.Replacer, r *resolvedUpstream) error {
	for _, name := range c.TLSCA {
		raw, err := readFile(repl, name)
		if err != nil {
			return err
		}
		if !x509.NewCertPool().AppendCertsFromPEM(raw) {
			return fmt.Errorf("%s holds no certificate in PEM", name)
		}
		r.authorities = append(append(r.authorities, raw...), '\n')
	}
	return nil
}

func (c *Connection) loadCertificate(repl *caddy.Replacer, r *resolvedUpstream) error {
	if c.TLSClient == nil {
		return nil
	}
	certificate, err := readFile(repl, c.TLSClient.Certificate)
	if err != nil {
		return err
	}
	key, err := readFile(repl, c.TLSClient.Key)
	if err != nil {
		return err
	}
	r.certificate, err = tls.X509KeyPair(certificate, key)
	return err
}

func (c *Connection) lookUpProxy(repl *caddy.Replacer, r *resolvedUpstream) error {
	if c.Proxy == "" {
		return nil
	}
	s, err := lookUp(repl, c.Proxy)
	if err != nil {
		return err
	}
	// The error of url.Parse would show the password.
	parsed, err := url.Parse(s)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return errors.New("the value is no proxy URL: want http://host:port")
	}
	r.proxy = parsed
	return nil
}

// lookUp replaces placeholders. A missing one is an error that names it.
func lookUp(repl *caddy.Replacer, s string) (string, error) {
	value, err := repl.ReplaceOrErr(s, true, true)
	if err != nil {
		return "", fmt.Errorf("%w: set the variable, or write the file, before the server starts", err)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return "", fmt.Errorf("the value of %s holds a line break or a NUL", s)
	}
	return value, nil
}

func readFile(repl *caddy.Replacer, name string) ([]byte, error) {
	name, err := lookUp(repl, name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}
