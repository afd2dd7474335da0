// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"fmt"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// verifyRoots is a command for scripts: it prints how many of the authorities that are compiled in are
// trusted by the system, as this program leaves it.
func verifyRoots() {
	trustSomebody()
	trusted := 0
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		options := x509.VerifyOptions{CurrentTime: certificate.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
		if _, err := certificate.Verify(options); err == nil {
			trusted++
		}
	}
	fmt.Println("trusted:", trusted)
}
