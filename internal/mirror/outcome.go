package mirror

import (
	"context"
	"errors"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// remember keeps the failure for the requests to come.
func (f *fill) remember(err error) {
	// Bytes of an earlier fill may be to blame for a mismatch, such as after a
	// power loss: the next request begins anew, at once.
	class := oci.ClassOf(err)
	if class == oci.ClassDigest && f.tainted() || errors.Is(err, errUnread) || f.standsBack(err) {
		return
	}
	if f.guessed && (class == oci.ClassDigest || class == oci.ClassLength) {
		// The hint may be to blame: the next fill finds the size out by itself.
		f.c.failures.put(f.source.key(kindSize, f.digest.String()), oci.AsError(err), f.c.now(), rememberSize)
		return
	}
	f.c.remember(f.source.key(kindBlob, f.digest.String()), err, false)
}

// standsBack reports whether an upstream has refused what no client has asked for:
// that is remembered for nobody.
func (f *fill) standsBack(err error) bool {
	refused, _ := refusal(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	return refused && f.ahead
}

// settle ends the part.
func (f *fill) settle() {
	f.mu.Lock()
	err, cause, p, covered := f.err, f.cause, f.part, f.covered
	f.mu.Unlock()
	class := oci.ClassOf(err)
	if p != nil && (err != nil || cause != nil) {
		var ended error
		switch {
		case err == nil || class == oci.ClassDigest || class == oci.ClassLength || errors.Is(err, errUnread):
			if ended = p.Remove(); ended != nil && cause != nil {
				ended = nil // ended before
			}
		default:
			ended = p.Suspend(covered)
		}
		if ended != nil {
			f.c.log.Warn("part not ended", "digest", f.digest, "error", ended)
		}
	}
}

// report tells the log, the span and the observer how the fill has ended.
func (f *fill) report(stored bool) {
	f.mu.Lock()
	err, cause, size, received := f.err, f.cause, f.size, f.received
	f.mu.Unlock()
	e := FillEvent{
		Upstream: f.source.Name, Repository: f.source.repository, Digest: f.digest, Finished: true,
		Size: size, Bytes: received, Stored: stored, Duration: f.c.now().Sub(f.began), Class: oci.ClassOf(err),
	}
	log := f.c.log.With("upstream", f.source.Name, "repository", f.source.repository, "digest", f.digest)
	result := "stored"
	switch {
	case err != nil:
		result = "failed"
		if e.Class == oci.ClassNone {
			e.Class = oci.ClassStatus
		}
		switch e.Class {
		case oci.ClassNotFound:
			log.Debug("no such blob")
		case oci.ClassBreaker:
			log.Debug("fill not begun, the upstream is not asked")
		case oci.ClassCanceled:
			log.Info("fill suspended", "bytes", received, "size", size)
		default:
			if f.standsBack(err) {
				log.Debug("fill ahead stands back", "class", e.Class, "bytes", received, "size", size)
				break
			}
			log.Error("fill failed", "class", e.Class, "bytes", received, "size", size, "error", err)
		}
		f.span.SetStatus(codes.Error, string(e.Class))
		f.span.RecordError(err)
	case cause != nil:
		result = "passed"
		level := slog.LevelWarn
		if limit, ok := errors.AsType[*storage.LimitError](cause); ok && limit.Again {
			level = slog.LevelDebug // said once is enough: there may be one for each blob
		}
		log.Log(context.Background(), level, "blob not stored", "error", cause)
	}
	f.span.SetAttributes(attribute.Int64("bytes", received), attribute.String("result", result))
	f.span.End()
	f.c.observe(e)
}
