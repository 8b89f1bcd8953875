package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// document is the error document of the distribution spec ("Error Codes").
type document struct {
	Errors []documentError `json:"errors"`
}

type documentError struct {
	Code    oci.Code  `json:"code"`
	Message string    `json:"message"`
	Detail  oci.Class `json:"detail,omitempty"`
}

// fail ends an exchange that an error has stopped: with the error document, or,
// where that is too late or there is nobody to read it, by cutting the
// connection.
func (x *exchange) fail(err error) {
	x.answer.Err = err
	if x.gone(err) {
		x.cut(slog.LevelDebug, "client left")
		return
	}
	if x.committed {
		x.cut(slog.LevelError, "body cut")
		return
	}
	e := x.document(err)
	if e.Status >= http.StatusInternalServerError {
		x.log(slog.LevelError, "request failed", slog.Int("status", e.Status), slog.String("class", string(e.Class)))
	}
	header := x.w.Header()
	// What stands there already may describe the content that does not come.
	x.answer.Digest = ""
	for _, name := range []string{"Docker-Content-Digest", "ETag", "Accept-Ranges"} {
		header.Del(name)
	}
	if e.Status != http.StatusRequestedRangeNotSatisfiable {
		header.Del("Content-Range")
	}
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", cacheNothing)
	if e.RetryAfter > 0 && (e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable) {
		header.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if e.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Basic realm="pullgate"`)
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // people read it as it is
	err = encoder.Encode(document{Errors: []documentError{{Code: e.Code, Message: e.Message, Detail: e.Class}}})
	if err == nil {
		err = x.sendBytes(e.Status, bytes.TrimSpace(body.Bytes()))
	}
	if err != nil {
		x.cut(slog.LevelDebug, "client left")
	}
}

// document returns the error as the client gets it.
func (x *exchange) document(err error) oci.Error {
	e := *oci.AsError(err)
	if _, known := errors.AsType[*oci.Error](err); !known {
		e.Message = x.named("the gateway could not answer: its log says more")
	}
	switch {
	case e.Status < http.StatusBadRequest || e.Status > 599:
		// Anything else would be taken for an answer, or for a redirect.
		e.Status = http.StatusBadGateway
		e.Code = oci.CodeUnavailable
	case e.Status >= http.StatusInternalServerError:
		e.Code = oci.CodeUnavailable
	case e.Status == http.StatusNotFound && e.Code == oci.CodeNameUnknown && x.answer.Request.Kind == oci.KindReferrers:
		// oras gives up on NAME_UNKNOWN, and takes every other 404 for a
		// registry without this API.
		e.Code = oci.CodeManifestUnknown
	}
	return e
}

// named puts what the client has asked for before a message, if that is known.
func (x *exchange) named(message string) string {
	if r := x.answer.Request; r.Repository != "" {
		return imageName(r.Upstream, r) + ": " + message
	}
	return message
}

// cut ends the exchange without an answer that could pass for complete. What
// was written so far goes out first: the client resumes after it.
func (x *exchange) cut(level slog.Level, message string) {
	x.answer.Aborted = true
	if x.committed {
		x.flush()
	} else {
		x.begin(statusClientGone)
	}
	x.log(level, message, slog.Int64("bytes", x.answer.Bytes))
}

func (x *exchange) log(level slog.Level, message string, attrs ...slog.Attr) {
	if !x.h.o.Logger.Enabled(x.ctx, level) {
		return
	}
	r := x.answer.Request
	x.h.o.Logger.LogAttrs(x.ctx, level, message, append(attrs,
		slog.String("method", x.r.Method),
		slog.String("kind", string(r.Kind)),
		slog.String("upstream", r.Upstream),
		slog.String("repository", r.Repository),
		slog.String("reference", r.Reference.String()),
		slog.Any("error", x.answer.Err),
	)...)
}
