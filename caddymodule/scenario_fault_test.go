package caddymodule

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// on [<host>] [<METHOD>] <kind>[/<reference>] [x<times>] [skip=<n>] <fault>...
//
// host is registry, cdn or token; kind as in registrytest.Request, or any.
func (s *scenario) cmdOn(args []string) {
	var rule registrytest.Rule
	s.arg(args, 1)
	switch host := registrytest.Host(args[0]); host {
	case registrytest.HostRegistry, registrytest.HostCDN, registrytest.HostToken:
		rule.Host, args = host, args[1:]
	}
	if word := s.arg(args, 0); word == strings.ToUpper(word) {
		rule.Method, args = word, args[1:]
	}
	rule.Kind, rule.Reference, _ = strings.Cut(s.arg(args, 0), "/")
	rule.Kind = strings.TrimPrefix(rule.Kind, "any")
	for args = args[1:]; len(args) > 0; args = args[1:] {
		if n, ok := strings.CutPrefix(args[0], "skip="); ok {
			rule.Skip = s.number(n)
		} else if n, ok := strings.CutPrefix(args[0], "x"); ok {
			rule.Times = s.number(n)
		} else {
			break
		}
	}
	rule.Hook = s.fault(args)
	s.server().On(rule)
}

// fault reads what answers in place of the usual: one of the words below, or any
// number of those that spoil the usual answer.
func (s *scenario) fault(args []string) registrytest.Hook {
	s.t.Helper()
	switch s.arg(args, 0) {
	case "status": // status <code> [<Name: value>...] [<body>]
		return s.answer(s.number(s.arg(args, 1)), args[2:])
	case "html": // a page for people
		return registrytest.Answer(http.StatusOK, http.Header{"Content-Type": {"text/html; charset=utf-8"}}, "<html><body>Please log in</body></html>")
	case "redirect": // redirect <url> [<code>]
		code := http.StatusTemporaryRedirect
		if len(args) > 2 {
			code = s.number(args[2])
		}
		return registrytest.Answer(code, http.Header{"Location": {s.arg(args, 1)}}, "")
	case "serve": // serve <digest>: that content, with no other header
		content, ok := s.contents[digest.Digest(s.arg(args, 1))]
		if !ok {
			s.fatalf("there is no content %s", args[1])
		}
		return s.answer(http.StatusOK, append(args[2:], string(content)))
	case "reset":
		return registrytest.Abort
	case "hang":
		return registrytest.Hang(s.hold)
	}
	return s.spoil(args).Hook()
}

func (s *scenario) answer(code int, args []string) registrytest.Hook {
	header, body := http.Header{}, ""
	for _, word := range args {
		if name, value, ok := strings.Cut(word, ": "); ok && headerName.MatchString(name) {
			header.Add(name, value)
		} else {
			body = word
		}
	}
	return registrytest.Answer(code, header, body)
}

func (s *scenario) spoil(args []string) (spoil registrytest.Spoil) {
	s.t.Helper()
	edits := http.Header{}
	for len(args) > 0 {
		word, taken := args[0], 2
		switch word {
		case "cut":
			spoil.Cut, spoil.After = true, int64(s.size(s.arg(args, 1)))
		case "end":
			spoil.End, spoil.After = true, int64(s.size(s.arg(args, 1)))
		case "stall":
			spoil.Stall, spoil.After = s.hold, int64(s.size(s.arg(args, 1)))
		case "flip":
			spoil.FlipEvery = int64(s.size(s.arg(args, 1)))
		case "code":
			spoil.Status = s.number(s.arg(args, 1))
		case "extra":
			spoil.Extra = []byte(s.arg(args, 1))
		case "norange":
			spoil.IgnoreRange, taken = true, 1
		case "chunked":
			spoil.Chunked, taken = true, 1
		case "pace": // pace <bytes> <duration>
			pace, err := time.ParseDuration(s.arg(args, 2))
			s.check(err)
			spoil.Piece, spoil.Pace, taken = s.size(args[1]), pace, 3
		case "header": // header <Name: value>; an empty value takes it away
			name, value, _ := strings.Cut(s.arg(args, 1), ":")
			edits.Add(name, strings.TrimSpace(value))
		default:
			s.fatalf("there is no fault %q", word)
		}
		args = args[taken:]
	}
	spoil.Header = func(header http.Header) {
		for name, values := range edits {
			if header.Del(name); values[0] != "" {
				header[http.CanonicalHeaderKey(name)] = values
			}
		}
	}
	return spoil
}

// off ends all faults of the upstream.
func (s *scenario) cmdOff([]string) { s.server().Off() }

// down makes the system refuse connections to the upstream, up accepts them.
func (s *scenario) cmdDown([]string) { s.server().Refuse() }

func (s *scenario) cmdUp([]string) { s.check(s.server().Accept()) }

// release lets everything go on that hangs or stalls, and that will.
func (s *scenario) cmdRelease([]string) {
	s.open()
	s.hold, s.open = registrytest.Hold(s.whole)
	s.server().Off()
}

// expire: the tokens that the token server has given are good for nothing now.
func (s *scenario) cmdExpire([]string) { s.server().ExpireTokens() }

// blobFile returns where the store keeps a blob.
func (s *scenario) blobFile(d digest.Digest) string {
	return filepath.Join(s.site.storage, "blobs", d.Algorithm().String(), d.Encoded()[:3], d.Encoded())
}

// damage <digest>: flips a bit in the middle of a stored blob.
func (s *scenario) cmdDamage(args []string) {
	name := s.blobFile(digest.Digest(s.arg(args, 0)))
	raw, err := os.ReadFile(name)
	s.check(err)
	raw[len(raw)/2] ^= 1
	s.check(os.Chmod(name, 0o600))
	s.check(os.WriteFile(name, raw, 0o600))
}

// truncate <digest>: cuts the file of a stored blob in half.
func (s *scenario) cmdTruncate(args []string) {
	name := s.blobFile(digest.Digest(s.arg(args, 0)))
	info, err := os.Stat(name)
	s.check(err)
	s.check(os.Chmod(name, 0o600))
	s.check(os.Truncate(name, info.Size()/2))
}

// remove <digest>|store: removes the file of a blob, or the whole store.
func (s *scenario) cmdRemove(args []string) {
	if s.arg(args, 0) == "store" {
		s.check(os.RemoveAll(s.site.storage))
		return
	}
	s.check(os.Remove(s.blobFile(digest.Digest(args[0]))))
}

// jam <message>: the store panics where it would log that. unjam ends it.
func (s *scenario) cmdJam(args []string) {
	s.swapLog(func(h slog.Handler) slog.Handler { return jammed{h, s.arg(args, 0)} })
}

func (s *scenario) cmdUnjam([]string) {
	s.swapLog(func(h slog.Handler) slog.Handler { return h.(jammed).Handler })
}

func (s *scenario) swapLog(change func(slog.Handler) slog.Handler) {
	generations.Lock()
	defer generations.Unlock()
	run := generations.list[len(generations.list)-1].run
	run.log = change(run.log)
}

type jammed struct {
	slog.Handler

	message string
}

func (j jammed) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == j.message {
		panic("a fault of the program")
	}
	return j.Handler.Handle(ctx, r)
}

// limit <size>: what the blobs of the store may take from now on.
func (s *scenario) cmdLimit(args []string) {
	for _, c := range openCaches() {
		c.SetLimits(storage.Limits{MaxSize: int64(s.size(s.arg(args, 0)))})
	}
}
