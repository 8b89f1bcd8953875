package caddymodule

import (
	"crypto/sha512"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// scenario is a script that is being played.
type scenario struct {
	t      *testing.T // of the row
	whole  *testing.T
	script *script
	at     instruction
	site   *site
	vars   map[string]string
	// upstreams by name; upstream and repository are what commands are about.
	upstreams            map[string]*registrytest.Server
	upstream, repository string
	contents             map[digest.Digest][]byte
	images               map[string]registrytest.Image
	seed                 uint64
	user, password       string
	clients              map[string]*actor
	last                 []*reply
	hold                 <-chan struct{} // what hang and stall wait for
	open                 func()
	asserted             bool // the row has said how many requests the upstream saw
	since                checkpoint
	logFile              string
}

func newScenario(t *testing.T, script *script) *scenario {
	t.Helper()
	s := &scenario{
		t: t, whole: t, script: script, site: newSite(t), vars: map[string]string{},
		upstreams: map[string]*registrytest.Server{}, upstream: "docker.io", repository: "library/app",
		contents: map[digest.Digest][]byte{}, images: map[string]registrytest.Image{},
		clients: map[string]*actor{}, logFile: filepath.Join(t.TempDir(), "log"),
	}
	s.site.anyHost = true
	s.site.log = "output file " + s.logFile + " {\nroll_disabled\n}\nformat json\nlevel DEBUG\nexclude http.log.access tls http.auto_https admin"
	s.vars["addr"] = s.site.addr
	s.hold, s.open = registrytest.Hold(t)
	t.Cleanup(func() {
		for _, c := range s.clients {
			c.cancel()
		}
	})
	return s
}

func (s *scenario) setTest(t *testing.T) {
	t.Helper()
	s.t, s.site.t = t, t
}

// fatalf ends the row, and names the line.
func (s *scenario) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s:%d: %s: %s", s.script.file, s.at.line, strings.Join(s.at.words, " "), fmt.Sprintf(format, args...))
}

func (s *scenario) check(err error) {
	s.t.Helper()
	if err != nil {
		s.fatalf("%v", err)
	}
}

func (s *scenario) arg(args []string, i int) string {
	s.t.Helper()
	if i >= len(args) {
		s.fatalf("it takes more words")
	}
	return args[i]
}

func (s *scenario) number(word string) int {
	s.t.Helper()
	n, err := strconv.Atoi(word)
	s.check(err)
	return n
}

func (s *scenario) size(word string) int {
	s.t.Helper()
	n, err := humanize.ParseBytes(word)
	s.check(err)
	return int(n)
}

func (s *scenario) server() *registrytest.Server {
	s.t.Helper()
	server := s.upstreams[s.upstream]
	if server == nil {
		s.fatalf("there is no upstream %s", s.upstream)
	}
	return server
}

// upstream <name> [auth=basic|bearer] [user=… password=…] [cdn] [tls] [h2] [certificate=expired|name]
func (s *scenario) cmdUpstream(args []string) {
	name := s.arg(args, 0)
	var o registrytest.Options
	for _, word := range args[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "auth":
			o.Auth = map[string]registrytest.Auth{"basic": registrytest.AuthBasic, "bearer": registrytest.AuthBearer}[value]
		case "user":
			o.Username = value
		case "password":
			o.Password = value
		case "cdn":
			o.CDN = true
		case "tls":
			o.TLS = true
		case "h2":
			o.TLS, o.HTTP2 = true, true
		case "certificate":
			certificate := badCertificate(s.t, value)
			o.TLS, o.Certificate = true, &certificate
		default:
			s.fatalf("there is no option %s", key)
		}
	}
	server := registrytest.New(s.t, o)
	s.upstreams[name], s.upstream = server, name
	s.vars[name] = server.URL()
	s.vars[name+" addr"] = server.Addr()
	s.vars[name+" cdn"] = server.CDNURL()
	s.vars[name+" token"] = strings.TrimSuffix(server.TokenURL(), "/token")
	if o.TLS {
		file := filepath.Join(s.t.TempDir(), "ca.pem")
		block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
		s.check(os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		s.vars[name+" ca"] = file
	}
}

// in <upstream>/<repository>: what the commands that follow are about.
func (s *scenario) cmdIn(args []string) {
	s.upstream, s.repository, _ = strings.Cut(s.arg(args, 0), "/")
}

func (s *scenario) keep(name string, d digest.Digest, content []byte) {
	s.vars[name] = d.String()
	s.contents[d] = content
}

// image <name> <tag> <layer size>...
func (s *scenario) cmdImage(args []string) {
	name := s.arg(args, 0)
	var sizes []int
	for _, word := range args[2:] {
		sizes = append(sizes, s.size(word))
	}
	s.seed++
	image := s.server().PutImage(s.repository, args[1], s.seed, sizes...)
	s.images[name] = image
	s.keep(name, image.Index.Digest, image.IndexBytes)
	platform := image.Platforms[0]
	s.keep(name+".manifest", platform.Manifest.Digest, platform.ManifestBytes)
	s.vars[name+".config"] = platform.Config.Digest.String()
	for i, layer := range platform.Layers {
		s.keep(fmt.Sprintf("%s.layer%d", name, i+1), layer.Digest, registrytest.Random(s.seed<<16+uint64(i), sizes[i]))
	}
}

// blob <name> <size>
func (s *scenario) cmdBlob(args []string) {
	s.seed++
	content := registrytest.Random(s.seed<<16, s.size(s.arg(args, 1)))
	s.keep(args[0], s.server().PutBlob(s.repository, content), content)
}

// manifest <name> <tag or -> <media type> <content>
func (s *scenario) cmdManifest(args []string) {
	content := []byte(s.arg(args, 3))
	if s.at.block != "" {
		content = []byte(strings.TrimSpace(s.block()))
	}
	tag := strings.TrimPrefix(args[1], "-")
	s.keep(args[0], s.server().PutManifest(s.repository, tag, args[2], content), content)
}

// tag <tag> <image>: moves a tag.
func (s *scenario) cmdTag(args []string) {
	image, ok := s.images[s.arg(args, 1)]
	if !ok {
		s.fatalf("there is no image %s", args[1])
	}
	s.server().PutManifest(s.repository, args[0], image.Index.MediaType, image.IndexBytes)
}

// delete manifests/<tag>|blobs/<digest>: upstream, that is.
func (s *scenario) cmdDelete(args []string) {
	switch kind, reference, _ := strings.Cut(s.arg(args, 0), "/"); kind {
	case "manifests":
		s.server().DeleteTag(s.repository, reference)
	case "blobs":
		s.server().DeleteBlob(s.repository, digest.Digest(reference))
	default:
		s.fatalf("delete what")
	}
}

// let <name> <text> | repeat <n> <text> | bcrypt <password> | random <size> | sha512 <digest>
func (s *scenario) cmdLet(args []string) {
	name := s.arg(args, 0)
	switch s.arg(args, 1) {
	case "repeat":
		s.vars[name] = strings.Repeat(s.arg(args, 3), s.number(args[2]))
	case "bcrypt":
		hash, err := bcrypt.GenerateFromPassword([]byte(s.arg(args, 2)), bcrypt.MinCost)
		s.check(err)
		s.vars[name] = string(hash)
	case "random": // a digest of something that is nowhere
		s.seed++
		s.vars[name] = oci.Sum(registrytest.Random(s.seed<<16, s.size(s.arg(args, 2)))).String()
	case "sha512":
		content := s.contents[digest.Digest(s.arg(args, 2))]
		d := digest.Digest(fmt.Sprintf("sha512:%x", sha512.Sum512(content)))
		s.keep(name, d, content)
		s.server().PutBlobAs(s.repository, d, content)
	default:
		s.vars[name] = args[1]
	}
}

// env <name> <value>
func (s *scenario) cmdEnv(args []string) { s.t.Setenv(s.arg(args, 0), s.arg(args, 1)) }

// global, with lines for Caddy's global options.
func (s *scenario) cmdGlobal([]string) { s.site.global = "admin off\npersist_config off\n" + s.block() }

// gateway, with lines for the upstream docker.io: starts Caddy, or reloads it.
// Tags are asked for on every pull, unless a line says otherwise.
func (s *scenario) cmdGateway([]string) {
	options := "url " + s.vars["docker.io"] + "\n" + s.block()
	if !strings.Contains(options, "tag_ttl") {
		options += "tag_ttl 0\n"
	}
	if !strings.Contains(options, "look_ahead") {
		options += "look_ahead off\n" // what the upstream sees is what was asked for
	}
	s.load("registry_mirror {\nupstream docker.io {\n" + options + "}\n}\n")
}

// site, with lines for the site: starts Caddy, or reloads it.
func (s *scenario) cmdSite([]string) { s.load(s.block()) }

func (s *scenario) load(directives string) {
	s.t.Helper()
	s.check(s.site.tryLoad(directives))
	// Where two servers listen, either of them gets the next connection, and the one that
	// stops cuts off what waits for it.
	s.soon(func() string {
		if n := listeners(s.t, s.site.addr); n > 1 {
			return fmt.Sprintf("%d servers listen", n)
		}
		return ""
	})
	s.mark()
}

// stop stops Caddy.
func (s *scenario) cmdStop([]string) { s.check(caddy.Stop()) }
