//! strftime_now, in the C locale and for a given moment, so that a prompt can be made again.

use minijinja::value::Value;
use minijinja::Error;

use super::python::fail;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A function strftime_now(format) for a moment of local time, in seconds since 1970.
pub fn function(now: i64) -> Value {
    Value::from_function(move |format: &str| strftime(format, now))
}

fn strftime(format: &str, now: i64) -> Result<String, Error> {
    let days = now.div_euclid(86_400);
    let seconds = now.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    let weekday = (days + 4).rem_euclid(7); // 1970 began on a Thursday
    let year_day = days - days_before(year, 1, 1) + 1;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let day_name = DAYS[weekday as usize];
    let month_name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let bare = directive == Some('-'); // glibc: no padding
        if bare {
            directive = chars.next();
        }
        let padded = |n: i64, width: usize| if bare { n.to_string() } else { format!("{n:0width$}") };
        out.push_str(&match directive {
            Some('Y') => year.to_string(),
            Some('C') => padded(year.div_euclid(100), 2),
            Some('y') => padded(year.rem_euclid(100), 2),
            Some('m') => padded(month, 2),
            Some('d') => padded(day, 2),
            Some('e') => {
                if bare {
                    day.to_string()
                } else {
                    format!("{day:2}")
                }
            }
            Some('H') => padded(hour, 2),
            Some('I') => padded(hour12, 2),
            Some('k') => {
                if bare {
                    hour.to_string()
                } else {
                    format!("{hour:2}")
                }
            }
            Some('l') => {
                if bare {
                    hour12.to_string()
                } else {
                    format!("{hour12:2}")
                }
            }
            Some('M') => padded(minute, 2),
            Some('S') => padded(second, 2),
            Some('f') => "000000".into(),
            Some('j') => padded(year_day, 3),
            Some('U') => padded((year_day + 6 - weekday) / 7, 2),
            Some('W') => padded((year_day + 6 - (weekday + 6) % 7) / 7, 2),
            Some('w') => weekday.to_string(),
            Some('u') => ((weekday + 6) % 7 + 1).to_string(),
            Some('B') => month_name.into(),
            Some('b' | 'h') => month_name[..3].into(),
            Some('A') => day_name.into(),
            Some('a') => day_name[..3].into(),
            Some('p') => {
                if hour < 12 {
                    "AM".into()
                } else {
                    "PM".into()
                }
            }
            Some('D' | 'x') => format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100)),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('R') => format!("{hour:02}:{minute:02}"),
            Some('T' | 'X') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('c') => {
                format!("{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}", &day_name[..3], &month_name[..3])
            }
            Some('s') => now.to_string(),
            Some('z' | 'Z') => String::new(), // as for a datetime without a zone
            Some('n') => "\n".into(),
            Some('t') => "\t".into(),
            Some('%') => "%".into(),
            Some(other) => return Err(fail(format!("strftime_now: the directive %{other} is unknown"))),
            None => return Err(fail("strftime_now: the format ends with a single %")),
        });
    }
    Ok(out)
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(366);
    while days_before(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 12;
    while days_before(year, month, 1) > days {
        month -= 1;
    }
    (year, month, days - days_before(year, month, 1) + 1)
}

/// Days from 1970 to a date.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leaps = |y: i64| y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    let leap = leaps(year) - leaps(year - 1);
    let in_year = BEFORE[month as usize - 1] + if month > 2 { leap } else { 0 };
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969) + in_year + day - 1
}

#[cfg(test)]
mod tests {
    use super::strftime;

    #[test]
    fn known_moments() {
        for (now, format, want) in [
            (0, "%Y-%m-%d %H:%M:%S %a %j", "1970-01-01 00:00:00 Thu 001"),
            (951_782_400, "%d %b %Y, %A, %U %W", "29 Feb 2000, Tuesday, 09 09"),
            (1_732_449_599, "%B %-d, %I:%M %p", "November 24, 11:59 AM"),
            (-1, "%c", "Wed Dec 31 23:59:59 1969"),
            (4_102_444_800, "%F %u", "2100-01-01 5"),
        ] {
            assert_eq!(strftime(format, now).unwrap(), want);
        }
        assert!(strftime("%Q", 0).is_err());
        assert!(strftime("%", 0).is_err());
    }
}
