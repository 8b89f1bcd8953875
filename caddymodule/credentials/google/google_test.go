package google

import (
	"testing"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

func TestCredentialsAreForGoogle(t *testing.T) {
	login, err := source().Login(t.Context(), "quay.io")
	if err != nil || login != (credentials.Login{}) {
		t.Errorf("%v, %v", login.Username, err)
	}
}
