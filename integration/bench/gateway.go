package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/freeport"
)

// gateway is a running Pullgate.
type gateway struct {
	*process
	plain, secure, admin string // host:port
	guarded              string // host:port of the same as plain, with a password
}

// configuration is the shipped one as far as serving goes: with its timeouts,
// an access log and metrics. Beside it stands what Caddy itself can do. The log of
// one contestant is not compressed on the time of the next.
const configuration = `{
	admin %[7]s
	persist_config off
	auto_https disable_redirects
	metrics
	servers {
		timeouts {
			read_header 10s
			read_body_idle 10s
			write_idle 1m
			idle 2m
			%[10]s
		}
		max_header_size 16KiB
	}
	registry_mirror {
		storage %[1]s
		%[11]s
	}
}

(mirror) {
	log {
		output file %[2]s {
			roll_uncompressed
			roll_keep 1
		}
	}
	handle /respond {
		header Content-Type %[8]s
		respond %[3]s
	}
	registry_mirror {
		upstream fast.test {
			%[9]s
			url http://%[4]s
			tag_ttl 1h
		}
		upstream slow.test {
			%[9]s
			url http://%[5]s
		}
		upstream single.test {
			look_ahead off
			url http://%[5]s
		}
		upstream link.test {
			%[9]s
			url http://%[6]s
		}
		upstream filled.test {
			offline
		}
	}
}
`

// startGateway starts a gateway with an empty store.
func (b *bench) startGateway(ctx context.Context) (*gateway, error) {
	dir, err := os.MkdirTemp(b.dir, "gateway-")
	if err != nil {
		return nil, err
	}
	return b.startGatewayIn(ctx, dir)
}

// storeIn is where the store of a gateway lies.
func storeIn(dir string) string { return filepath.Join(dir, "store") }

// storedIn is where that has a blob.
func storedIn(dir string, d digest.Digest) string {
	return filepath.Join(storeIn(dir), "blobs", string(d.Algorithm()), d.Encoded()[:3], d.Encoded())
}

// startGatewayIn starts a gateway in a directory that may have a store already.
func (b *bench) startGatewayIn(ctx context.Context, dir string) (_ *gateway, err error) {
	g := new(gateway)
	if g.plain, err = freeport.Address(); err != nil {
		return nil, err
	}
	if g.secure, err = freeport.Address(); err != nil {
		return nil, err
	}
	if g.guarded, err = freeport.Address(); err != nil {
		return nil, err
	}
	admin := "off"
	if b.profiles != "" {
		if g.admin, err = freeport.Address(); err != nil {
			return nil, err
		}
		admin = g.admin
	}
	certificate, err := b.certificate()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(configuration, storeIn(dir), filepath.Join(dir, "access.log"),
		"`"+string(b.image.manifest)+"`", b.origin.fast, b.origin.slow, b.origin.link, admin, manifestType, b.upstream, b.timeouts, b.fleet)
	config += fmt.Sprintf("http://%s {\n\timport mirror\n}\nhttps://%s {\n\ttls %s %s\n\timport mirror\n}\n",
		g.plain, g.secure, certificate, certificate)
	config += fmt.Sprintf("http://%s {\n\tbasic_auth {\n\t\t%s %s\n\t}\n\timport mirror\n}\n", g.guarded, user, b.hash)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	g.process, err = b.start(ctx, "http://"+g.plain+"/v2/", b.binary, "run", "--config", file)
	if err == nil {
		g.dir = dir
	}
	return g, err
}

// certificate returns a file with a key and a certificate of its own for
// 127.0.0.1.
func (b *bench) certificate() (string, error) {
	file := filepath.Join(b.dir, "certificate.pem")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})...)
	return file, os.WriteFile(file, text, 0o600)
}

// startFiles starts the plain net/http server of the files of a directory.
func (b *bench) startFiles(ctx context.Context, dir string) (*gateway, error) {
	certificate, err := b.certificate()
	if err != nil {
		return nil, err
	}
	g := new(gateway)
	if g.plain, err = freeport.Address(); err != nil {
		return nil, err
	}
	if g.secure, err = freeport.Address(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g.process, err = b.start(ctx, "http://"+g.plain+"/", self, "files", dir, g.plain, g.secure, certificate)
	return g, err
}

// findPeers looks for Debian's docker-registry.
func (b *bench) findPeers() {
	if path, err := exec.LookPath("docker-registry"); err == nil {
		b.peers["docker-registry"] = path
	}
}

func (b *bench) addPeer(s string) error {
	name, path, err := nameAndValue(s)
	if err == nil {
		_, err = os.Stat(path)
	}
	b.peers[name] = path
	return err
}

// startPeer starts a distribution registry with an empty store in front of an
// upstream.
func (b *bench) startPeer(ctx context.Context, name, upstream string) (*gateway, error) {
	dir, err := os.MkdirTemp(b.dir, "peer-")
	if err != nil {
		return nil, err
	}
	g := new(gateway)
	if g.plain, err = freeport.Address(); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\nproxy:\n  remoteurl: http://%s\n",
		dir, g.plain, upstream)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	g.process, err = b.start(ctx, "http://"+g.plain+"/v2/", b.peers[name], "serve", file)
	if err == nil {
		g.dir = dir
	}
	return g, err
}

// readBuffer is what a client reads at once, but of bodies.
const readBuffer = 64 << 10

// newClient returns a client with connections of its own.
func newClient(http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its certificate is made here
		Protocols:       protocols, DisableCompression: true, ReadBufferSize: readBuffer, MaxIdleConnsPerHost: 300,
	}}
}
