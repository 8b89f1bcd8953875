package oci

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
)

func TestNewError(t *testing.T) {
	for code, status := range map[Code]int{
		CodeBlobUnknown: 404, CodeManifestUnknown: 404, CodeNameUnknown: 404,
		CodeDigestInvalid: 400, CodeManifestInvalid: 400, CodeNameInvalid: 400,
		CodeDenied: 403, CodeUnauthorized: 401, CodeTooManyRequests: 429, CodeUnsupported: 405, CodeUnavailable: 502,
	} {
		wantError(t, NewError(code, "m"), code, status)
	}
}

func TestUpstreamError(t *testing.T) {
	for class, want := range map[Class]struct {
		code   Code
		status int
	}{
		ClassNotFound: {CodeBlobUnknown, 404}, ClassDenied: {CodeDenied, 403}, ClassRateLimited: {CodeTooManyRequests, 429},
		ClassTimeout: {CodeUnavailable, 504}, ClassConnect: {CodeUnavailable, 502}, ClassDigest: {CodeUnavailable, 502},
	} {
		err := UpstreamError(class, CodeBlobUnknown, "m", io.EOF)
		wantError(t, err, want.code, want.status)
		if !errors.Is(err, io.EOF) || ClassOf(fmt.Errorf("get: %w", err)) != class || IsNotFound(err) != (class == ClassNotFound) {
			t.Errorf("%s: cause or class is lost", class)
		}
	}
}

func TestAsError(t *testing.T) {
	if AsError(nil) != nil {
		t.Error("AsError(nil) is an error")
	}
	known := NewError(CodeDenied, "no")
	if AsError(fmt.Errorf("get: %w", known)) != known {
		t.Error("AsError does not find a wrapped *Error")
	}
	foreign := AsError(io.EOF)
	wantError(t, foreign, CodeUnavailable, http.StatusBadGateway)
	if !errors.Is(foreign, io.EOF) || foreign.Error() != "the gateway could not answer: EOF" || ClassOf(io.EOF) != ClassNone {
		t.Errorf("AsError(io.EOF) = %v", foreign)
	}
	if known.Error() != "no" {
		t.Errorf("Error() = %q", known.Error())
	}
}
