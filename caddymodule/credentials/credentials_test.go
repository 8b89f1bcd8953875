package credentials

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNothingPrintsSecrets(t *testing.T) {
	l := Login{Username: "u", Password: "canary", IdentityToken: "canary", RegistryToken: "canary"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "login", l, "pointer", &l)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{l, &l, []Login{l}, struct{ Login Login }{l}} {
			fmt.Fprintf(&log, verb, v)
		}
	}
	if text := log.String(); strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
		t.Error(text)
	}
}
