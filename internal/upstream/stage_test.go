package upstream

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// stage is a registry, and other origins around it, that all play the scene of
// one case at a time: real servers on loopback addresses, told apart by names.
type stage struct {
	pool        *x509.CertPool
	certificate tls.Certificate // of every server, and of the client
	urls        map[string]string
	addresses   map[string][]string

	mu    sync.Mutex
	scene scene
	seen  []glimpse
}

// scene is what the servers do. registry answers for the origin that the client
// is configured with, other for all the rest.
type scene struct {
	registry, other func(w http.ResponseWriter, r *http.Request)
}

// glimpse is one request as a server got it.
type glimpse struct {
	at          string // the name in stage.urls
	raw         []byte
	certificate bool
}

// secrets are what must not get out. All contain the word that is looked for; a
// password in Basic credentials is looked for by decoding them.
const canary = "canary"

// leaks returns what a server other than the registry must not have seen.
func (g glimpse) leaks() []string {
	var found []string
	if g.certificate {
		found = append(found, "client certificate")
	}
	for line := range bytes.Lines(g.raw) {
		text := string(bytes.TrimSpace(line))
		_, basic, isBasic := strings.Cut(text, "Basic ")
		plain, _ := base64.StdEncoding.DecodeString(basic)
		if strings.Contains(text, canary) || isBasic && bytes.Contains(plain, []byte(canary)) || strings.HasPrefix(text, "Cookie:") {
			found = append(found, text)
		}
	}
	return found
}

// newStage starts one server for each origin; the values are the names under
// which clients reach them and the address that those lie at.
func newStage(t *testing.T, origins map[string]place) *stage {
	t.Helper()
	s := &stage{urls: map[string]string{}, addresses: map[string][]string{}}
	hosts := []string{}
	for _, p := range origins {
		hosts = append(hosts, p.host)
	}
	s.certificate, s.pool = issue(t, hosts...)
	names := make([]string, 0, len(origins))
	for name := range origins {
		names = append(names, name)
	}
	slices.Sort(names) // those that want another one's port come after it
	for _, name := range names {
		p := origins[name]
		at := net.JoinHostPort(p.address, "0")
		if p.portOf != "" {
			at = net.JoinHostPort(p.address, portOf(s.urls[p.portOf]))
		}
		listener, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.play(name, w, r) }))
		_ = server.Listener.Close()
		server.Listener = listener
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes with who does not speak TLS
		if p.scheme == "https" {
			server.TLS = &tls.Config{Certificates: []tls.Certificate{s.certificate}, ClientAuth: tls.RequestClientCert}
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		s.addresses[p.host] = []string{p.address}
		s.urls[name] = p.scheme + "://" + net.JoinHostPort(p.host, portOf(server.URL))
	}
	return s
}

// place is where an origin of a stage is.
type place struct {
	scheme, host, address string
	portOf                string // the origin whose port it has too; "" = its own
}

func portOf(url string) string { return url[strings.LastIndex(url, ":")+1:] }

func (s *stage) play(name string, w http.ResponseWriter, r *http.Request) {
	raw, err := httputil.DumpRequest(r, true)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	s.seen = append(s.seen, glimpse{name, raw, r.TLS != nil && len(r.TLS.PeerCertificates) > 0})
	scene := s.scene
	s.mu.Unlock()
	if name == "a registry" {
		scene.registry(w, r)
		return
	}
	scene.other(w, r)
}

// begin sets the scene, and forgets what was seen.
func (s *stage) begin(of scene) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scene, s.seen = of, nil
}

func (s *stage) glimpses() []glimpse {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// issue makes a certificate that is its own authority.
func issue(t *testing.T, hosts ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	return issueFrom(t, time.Now().Add(-time.Hour), hosts...)
}

// issueFrom makes one that is good for two hours from a time on.
func issueFrom(t *testing.T, from time.Time, hosts ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stage"},
		NotBefore: from, NotAfter: from.Add(2 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// redirect answers with a Location, as it is written.
func redirect(w http.ResponseWriter, status int, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}

// demand answers 401 with a challenge.
func demand(w http.ResponseWriter, format string, args ...any) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(format, args...))
	w.WriteHeader(http.StatusUnauthorized)
}
