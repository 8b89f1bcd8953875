package caddymodule

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// actor is a client, or several that do the same, in the background.
type actor struct {
	cancel  context.CancelFunc
	done    chan struct{}
	replies []*reply
	stop    *stop
}

// stop is where a client stops reading.
type stop struct {
	after   int64 // so many bytes
	reached chan struct{}
	resume  chan struct{}
}

// wait waits at the stop once it is reached.
func (s *stop) wait(ctx context.Context, got int) {
	if s == nil || int64(got) < s.after {
		return
	}
	select {
	case <-s.reached:
	default:
		close(s.reached)
	}
	select {
	case <-s.resume:
	case <-ctx.Done():
	}
}

// reply is how one request was answered.
type reply struct {
	what   string
	status int
	header http.Header
	body   []byte
	// err is why the body did not end cleanly; nil = it did. An error without a
	// status is a request that was not answered.
	err error
	// left says that the client itself has broken off.
	left   bool
	took   time.Duration
	closed bool // the server has closed the connection, for raw requests
	mayCut bool // it was expected to be cut
	// verified says that sound was asked before.
	verified bool
}

var headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// demand is a request to make.
type demand struct {
	method, target string
	header         http.Header
	body           string
	user, password string
	times          int
	leave          int64         // after so many bytes of the body; -1 = never
	pause          time.Duration // before every read of at most piece bytes
	piece          int
	stop           *stop // nil = nowhere
}

// get|head <target> [<Name: value>...] [n=<clients>] [leave=<bytes>] [slow=<bytes>/<duration>]
// [stop=<bytes>]
//
// A target without a slash at its beginning is below the repository.
func (s *scenario) cmdRequest(args []string) {
	s.last = s.run(s.t.Context(), s.demand(append([]string{strings.ToUpper(s.at.words[0])}, args...)))
}

// send <METHOD> <target> [<body>]
func (s *scenario) cmdSend(args []string) {
	d := s.demand(args[:min(2, len(args))])
	for _, word := range args[2:] {
		d.body += word
	}
	s.last = s.run(s.t.Context(), d)
}

// user <name> <password>: who the clients are from now on; - = nobody.
func (s *scenario) cmdUser(args []string) {
	s.user, s.password = "", ""
	if s.arg(args, 0) != "-" {
		s.user, s.password = args[0], s.arg(args, 1)
	}
}

func (s *scenario) demand(args []string) demand {
	s.t.Helper()
	d := demand{
		method: s.arg(args, 0), target: s.arg(args, 1), header: http.Header{},
		user: s.user, password: s.password, times: 1, leave: -1,
	}
	if !strings.HasPrefix(d.target, "/") {
		d.target = "/v2/proxy-" + s.upstream + "/" + s.repository + "/" + d.target
	}
	for _, word := range args[2:] {
		key, value, _ := strings.Cut(word, "=")
		if name, text, ok := strings.Cut(word, ": "); ok && headerName.MatchString(name) {
			d.header.Add(name, text)
			continue
		}
		switch key {
		case "n":
			d.times = s.number(value)
		case "leave":
			d.leave = int64(s.size(value))
		case "slow":
			piece, pause, _ := strings.Cut(value, "/")
			var err error
			d.pause, err = time.ParseDuration(pause)
			s.check(err)
			d.piece = s.size(piece)
		case "stop":
			d.stop = &stop{int64(s.size(value)), make(chan struct{}), make(chan struct{})}
		default:
			s.fatalf("%q is neither a header nor an option", word)
		}
	}
	return d
}

// run makes a demand as often as it says at once, and waits for all answers.
func (s *scenario) run(ctx context.Context, d demand) []*reply {
	replies := make([]*reply, d.times)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = d.fulfil(ctx, s.site.addr) })
	}
	wg.Wait()
	return replies
}

// fulfil makes one request on a connection of its own.
func (d demand) fulfil(ctx context.Context, addr string) *reply {
	rep := &reply{what: d.method + " " + d.target}
	began := time.Now()
	defer func() { rep.took = time.Since(began) }()
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: d.dial}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, d.method, "http://"+addr+d.target, strings.NewReader(d.body))
	if err != nil {
		rep.err = err
		return rep
	}
	if d.body == "" {
		request.Body = http.NoBody
	}
	request.Header = d.header.Clone()
	if d.user != "" {
		request.SetBasicAuth(d.user, d.password)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		rep.err = err
		return rep
	}
	defer response.Body.Close()
	rep.status, rep.header = response.StatusCode, response.Header
	rep.header.Set("Content-Length", response.Header.Get("Content-Length"))
	rep.body, rep.left, rep.err = d.read(ctx, response.Body, response.ContentLength)
	return rep
}

// dial connects. What a slow client does not read stays with the server.
func (d demand) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	if err == nil && (d.pause > 0 || d.stop != nil) {
		err = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	}
	return conn, err
}

// read reads a body of so many bytes, if it does not end before that.
func (d demand) read(ctx context.Context, body io.Reader, length int64) (got []byte, left bool, err error) {
	got = make([]byte, 0, max(length, 0)+512)
	for {
		if d.leave >= 0 && int64(len(got)) >= d.leave {
			return got, true, nil
		}
		time.Sleep(d.pause)
		d.stop.wait(ctx, len(got))
		got = slices.Grow(got, 512)
		piece := cap(got) - len(got)
		if d.piece > 0 {
			piece = min(piece, d.piece)
		}
		n, err := body.Read(got[len(got):][:min(piece, 256<<10)])
		got = got[:len(got)+n]
		switch {
		case errors.Is(err, io.EOF):
			return got, false, nil
		case err != nil:
			return got, false, err
		}
	}
}

// refused <status> <code>, with a target on each line: a GET of it is answered so.
func (s *scenario) cmdRefused(args []string) {
	for line := range strings.Lines(s.block()) {
		words, err := splitWords(strings.TrimSpace(line))
		s.check(err)
		s.last = s.run(s.t.Context(), s.demand(append([]string{http.MethodGet}, words...)))
		s.cmdExpect([]string{s.arg(args, 0)})
		s.cmdExpect([]string{"code", s.arg(args, 1)})
	}
}

// client <name> get|head …: makes the request in the background.
func (s *scenario) cmdClient(args []string) {
	name := s.arg(args, 0)
	if s.clients[name] != nil {
		s.fatalf("client %s is busy: wait for it first", name)
	}
	d := s.demand(append([]string{strings.ToUpper(s.arg(args, 1))}, args[2:]...))
	ctx, cancel := context.WithCancel(context.Background())
	c := &actor{cancel: cancel, done: make(chan struct{}), stop: d.stop}
	s.clients[name] = c
	go func() {
		defer close(c.done)
		c.replies = s.run(ctx, d)
	}()
}

// wait <client>...: waits for the answers, which expect is about then.
func (s *scenario) cmdWait(args []string) {
	s.last = nil
	for _, name := range args {
		c := s.clients[name]
		if c == nil {
			s.fatalf("there is no client %s", name)
		}
		select {
		case <-c.done:
		case <-time.After(processTime):
			s.fatalf("no answer within %v", processTime)
		}
		delete(s.clients, name)
		c.cancel()
		s.last = append(s.last, c.replies...)
	}
}

// busy <client>: it has not got all of its answer yet, and is at its stop if it has one.
func (s *scenario) cmdBusy(args []string) {
	c := s.clients[s.arg(args, 0)]
	if c == nil {
		s.fatalf("there is no client %s", args[0])
	}
	if c.stop != nil {
		select {
		case <-c.stop.reached:
		case <-c.done:
		}
	}
	select {
	case <-c.done:
		s.fatalf("it is done")
	default:
	}
}

// resume <client>...: those at their stops go on.
func (s *scenario) cmdResume(args []string) {
	for _, name := range args {
		if c := s.clients[name]; c == nil || c.stop == nil {
			s.fatalf("client %s has no stop", name)
		}
		close(s.clients[name].stop.resume)
	}
}

// leave <client>: breaks its connection off.
func (s *scenario) cmdLeave(args []string) {
	for _, name := range args {
		c := s.clients[name]
		if c == nil {
			s.fatalf("there is no client %s", name)
		}
		c.cancel()
		<-c.done
		delete(s.clients, name)
	}
}

// pull <image>: pulls all of its first platform, as a container runtime does.
func (s *scenario) cmdPull(args []string) {
	image, ok := s.images[s.arg(args, 0)]
	if !ok {
		s.fatalf("there is no image %s", args[0])
	}
	platform := image.Platforms[0]
	targets := []string{"manifests/" + image.Tag, "manifests/" + platform.Manifest.Digest.String(), "blobs/" + platform.Config.Digest.String()}
	for _, layer := range platform.Layers {
		targets = append(targets, "blobs/"+layer.Digest.String())
	}
	var all []*reply
	for _, target := range targets {
		replies := s.run(s.t.Context(), s.demand([]string{http.MethodGet, target}))
		if replies[0].err != nil || replies[0].status != http.StatusOK {
			s.last = replies
			s.fatalf("%s", replies[0])
		}
		all = append(all, replies...)
	}
	s.last = all
	s.waitIdle()
}

// sound checks what holds for every answer: a clean end of content that was
// asked for by its digest means the right bytes.
func (r *reply) sound() bool {
	if !r.verified && !r.wrong() {
		r.verified = true
	}
	return r.verified
}

func (r *reply) wrong() bool {
	if r.status != http.StatusOK || r.err != nil || r.left || !strings.HasPrefix(r.what, "GET ") {
		return false
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(r.what, "GET "), "?")
	reference := path[strings.LastIndexByte(path, '/')+1:]
	d, err := oci.ParseDigest(reference)
	if err != nil || !strings.Contains(path, "/manifests/") && !strings.Contains(path, "/blobs/") {
		return false
	}
	return !oci.Verify(d, r.body)
}

// dialGateway opens a bare connection.
func (s *scenario) dialGateway() net.Conn {
	s.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(s.t.Context(), "tcp", s.site.addr)
	s.check(err)
	return conn
}

// content returns what a word of the script stands for: content that is known
// by its digest, or the word itself.
func (s *scenario) content(word string) []byte {
	if content, ok := s.contents[digest.Digest(word)]; ok {
		return content
	}
	return []byte(word)
}
