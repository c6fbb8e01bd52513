# Answers every request on port 8080 with $GREETING. Perl, because the smallest Debian has it.
use strict;
use warnings;
use IO::Socket::INET;

my $text = "$ENV{GREETING}\n";
my $server = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die "port 8080: $@\n";
print STDERR "listening on port 8080\n";
while (1) {
    my $client = $server->accept or next;
    while (defined(my $line = <$client>)) { last if $line =~ /^\r?$/ }
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n",
        "Content-Length: ", length $text, "\r\n\r\n", $text;
    close $client;
}
