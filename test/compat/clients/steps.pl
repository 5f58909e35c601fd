# Carries out the steps of test/compat/behaviours.ts with DBI; a line of JSON for each behaviour. The argument names the
# driver: mysql or MariaDB.
use strict;
use warnings;
use DBI qw(:sql_types);
use Digest::MD5 qw(md5_hex);
use Encode qw(decode encode FB_CROAK LEAVE_SRC);
use JSON::PP;
use Time::HiRes qw(sleep);

my $driver = shift;
my $json = JSON::PP->new->canonical->allow_nonref;
my $given = decode_json($ENV{COMPAT});
$| = 1;

DBI->install_driver($driver);
emit({ version => "DBD::$driver"->VERSION });
for my $behaviour (@{ $given->{behaviours} }) {
    emit({ behaviour => $behaviour->{id}, %{ run_behaviour($behaviour->{steps}) } });
}

sub emit {
    print encode('UTF-8', $json->encode(shift)), "\n";
}

sub run_behaviour {
    my ($steps) = @_;
    my (%connections, @values);
    local $SIG{__WARN__} = sub { };
    my $done = eval {
        push @values, scalar run_step(\%connections, $_) for @$steps;
        1;
    };
    my $error = $@;
    my ($thrown, $state, $number) = ($error, $DBI::state, $DBI::err);
    my $result = $done ? { values => \@values } : ref $error eq 'HASH' ? $error : { values => \@values, error => error_of() };
    $result->{error} = [0, '', "$error"] if !$done && ref $error ne 'HASH' && !$DBI::err;
    $_->disconnect for values %connections;
    return $result;
}

sub unsupported { die { unsupported => shift } }

sub error_of {
    my $message = $DBI::errstr // '';
    $message = eval { decode('UTF-8', $message, FB_CROAK | LEAVE_SRC) } // $message unless utf8::is_utf8($message);
    return [0 + ($DBI::err // 0), $DBI::state // '', $message];
}

sub connect_to {
    my ($step) = @_;
    my %target = (%{ $given->{targets}{ $step->{to} // 'plain' } }, map { exists $step->{$_} ? ($_ => $step->{$_}) : () } qw(user password database));
    my $p = lc $driver;
    my $dsn = "DBI:$driver:";
    $dsn .= "database=$target{database};" if defined $target{database};
    $dsn .= $target{socket} ? "${p}_socket=$target{socket}" : "host=$target{host};port=$target{port}";
    $dsn .= ";${p}_compression=1" if $step->{compress};
    $dsn .= ";${p}_local_infile=1" if $step->{localInfile};
    $dsn .= ";${p}_multi_statements=1" if $step->{multi};
    # Debian's DBD::mysql cannot enforce TLS, but does it when it is there.
    $dsn .= ";mysql_ssl_optional=1" if $target{ca} && $driver eq 'mysql';
    $dsn .= ";${p}_ssl=1;${p}_ssl_ca_file=$target{cafile};${p}_ssl_verify_server_cert=1" if $target{ca};
    my %options = (RaiseError => 1, PrintError => 0, AutoCommit => 1, "${p}_auto_reconnect" => 0);
    $options{mysql_enable_utf8mb4} = 1 if $driver eq 'mysql';
    my $user = encode('UTF-8', $target{user});
    return DBI->connect($dsn, $user, encode('UTF-8', $target{password}), \%options);
}

sub run_step {
    my ($connections, $step) = @_;
    my $name = $step->{on} // 'a';
    my $connection = $connections->{$name};
    my $p = lc $driver;
    my $sql = $step->{sql} // '';
    my $big = sub { $given->{big}{repeat} x $given->{big}{times} };
    $sql =~ s/\{big\}/$big->()/e;
    $sql =~ s/\{threadId\}/$connections->{a}->{"${p}_thread_id"}/e;
    # DBD::mysql sends a text's bytes as they are
    my $text = $driver eq 'mysql' ? encode('UTF-8', $sql) : $sql;
    my $do = $step->{do};
    if ($do eq 'connect') {
        $connections->{$name} = connect_to($step);
        return undef;
    }
    if ($do eq 'connectFails') {
        my $connected = eval { connect_to($step) };
        return error_of() unless $connected;
        die "the login was accepted\n";
    }
    if ($do eq 'query') {
        my $statement = $connection->prepare($text);
        $statement->execute;
        return shown(results($statement), $step->{digest});
    }
    if ($do eq 'execute') {
        my $statement = $connection->prepare($text, { "${p}_server_prepare" => 1 });
        my $i = 0;
        for my $value (@{ $step->{params} }) {
            if (ref $value eq 'HASH' && $value->{hex}) { $statement->bind_param(++$i, pack('H*', $value->{hex}), SQL_BLOB) }
            elsif (ref $value eq 'HASH') { $statement->bind_param(++$i, $value->{repeat} x $value->{times}) }
            elsif (defined $value && $driver eq 'mysql') { $statement->bind_param(++$i, encode('UTF-8', $value)) }
            else { $statement->bind_param(++$i, $value) }
        }
        $statement->execute;
        return shown([$statement->fetchall_arrayref], $step->{digest});
    }
    if ($do eq 'fails') {
        return error_of() unless eval { $connection->do($text); 1 };
        die "there was no error\n";
    }
    if ($do eq 'identity') {
        return ["" . $connection->{"${p}_thread_id"}, $connection->{"${p}_serverinfo"}];
    }
    if ($do eq 'info') {
        my $affected = $connection->do($text);
        return ["" . (0 + $affected), "" . $connection->last_insert_id(undef, undef, undef, undef)];
    }
    if ($do eq 'interrupted') {
        my $rows = eval { $connection->selectall_arrayref($text) };
        return $rows->[0][0] eq '1' ? 'interrupted' : 'not interrupted' if $rows;
        return 'interrupted' if $DBI::err == 1317;
        die $@;
    }
    if ($do eq 'sleep') {
        sleep($step->{ms} / 1000);
        return undef;
    }
    unsupported("no $do");
}

sub results {
    my ($statement) = @_;
    my @all;
    do {
        push @all, $statement->fetchall_arrayref if $statement->{NUM_OF_FIELDS};
    } while ($statement->more_results);
    return \@all;
}

sub shown {
    my ($all, $digest) = @_;
    return [map {
        my $texts = [map { [map { show($_) } @$_] } @$_];
        $digest ? [scalar @$texts, md5_hex(encode('UTF-8', join '', map { join("\t", @$_) . "\n" } @$texts))] : $texts;
    } @$all];
}

sub show {
    my ($value) = @_;
    return 'NULL' unless defined $value;
    my $bytes = utf8::is_utf8($value) ? encode('UTF-8', $value) : "$value";
    return length($bytes) . ' bytes, MD5 ' . md5_hex($bytes) if length $bytes > 1000;
    return eval { decode('UTF-8', $bytes, FB_CROAK | LEAVE_SRC) } // '0x' . unpack('H*', $bytes);
}
