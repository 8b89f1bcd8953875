package peers

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
)

const secret = "0123456789abcdef0123456789abcdef"

func TestSecretsThatCanBeGuessed(t *testing.T) {
	t.Parallel()
	for bad, want := range map[string]string{
		"":                        "has 0 bytes",
		"hush":                    "has 4 bytes",
		secret[1:]:                "has 31 bytes",
		strings.Repeat("hush", 9): "is not random",
	} {
		if err := CheckSecret(bad); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%v, want %s", err, want)
		}
		if _, err := New(Options{Secret: bad}); err == nil {
			t.Errorf("%q makes a group", bad)
		}
	}
	if err := CheckSecret(secret); err != nil {
		t.Error(err)
	}
}

// Both ends need the secret, and each tells of an end that has another one.
func TestSecretsOfBothEnds(t *testing.T) {
	t.Parallel()
	key := func(secret string) *credentials {
		c, err := newCredentials(secret)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	right := key(secret)
	for name, client := range map[string]*tls.Config{
		"the same": key(secret).config(func() {}),
		"another":  key(secret + "0").config(func() {}),
		"none":     {InsecureSkipVerify: true},
		"trusting": {InsecureSkipVerify: true, Certificates: key(secret + "0").config(nil).Certificates},
		"TLS 1.2":  {InsecureSkipVerify: true, Certificates: right.config(nil).Certificates, MaxVersion: tls.VersionTLS12},
	} {
		here, there := net.Pipe()
		refused := 0
		ended := make(chan error, 1)
		go func() {
			server := tls.Server(there, right.config(func() { refused++ }))
			err := server.Handshake()
			if err == nil {
				_, err = server.Write([]byte("hello"))
			}
			_ = there.Close()
			ended <- err
		}()
		c := tls.Client(here, client)
		_, err := c.Read(make([]byte, 5))
		_ = here.Close()
		served := <-ended
		if good := name == "the same"; (err == nil) != good || (served == nil) != good {
			t.Errorf("%s: %v and %v", name, err, served)
		}
		if want := name == "trusting"; want && refused != 1 {
			t.Errorf("%s: refused %d times", name, refused)
		}
	}
}
