/* Dates by arithmetic alone: no locale, no zone database, nothing that differs between machines. */
#include "codec/records.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* Days since 1970-01-01 of a Gregorian date: years begin in March, so leap days come last. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2 ? 1 : 0;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_from_days(int64_t days, int64_t *out_year, int64_t *out_month, int64_t *out_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *out_day = doy - (153 * mp + 2) / 5 + 1;
    *out_month = mp < 10 ? mp + 3 : mp - 9;
    *out_year = yoe + era * 400 + (*out_month <= 2 ? 1 : 0);
}

/* Exactly `count` digits, then *at moves on. */
static bool digits(const char **at, int count, int64_t *out_value)
{
    int64_t value = 0;
    for (int i = 0; i < count; i++) {
        char c = (*at)[i];
        if (!isdigit((unsigned char)c)) {
            return false;
        }
        value = value * 10 + (c - '0');
    }
    *at += count;
    *out_value = value;
    return true;
}

static bool character(const char **at, const char *any_of)
{
    if (**at == '\0' || strchr(any_of, **at) == NULL) {
        return false;
    }
    (*at)++;
    return true;
}

static bool parse_date(const char **at, int64_t *out_days)
{
    int64_t year;
    int64_t month;
    int64_t day;
    if (!digits(at, 4, &year) || !character(at, "-") || !digits(at, 2, &month) ||
        !character(at, "-") || !digits(at, 2, &day)) {
        return false;
    }
    if (month < 1 || month > 12 || day < 1) {
        return false;
    }
    int64_t next_year = month == 12 ? year + 1 : year;
    int64_t next_month = month == 12 ? 1 : month + 1;
    *out_days = days_from_date(year, month, day);
    return *out_days < days_from_date(next_year, next_month, 1);
}

/* hh:mm[:ss[.fraction]] in milliseconds. */
static bool parse_clock(const char **at, int64_t *out_ms)
{
    int64_t hour;
    int64_t minute;
    int64_t second = 0;
    int64_t ms = 0;
    if (!digits(at, 2, &hour) || !character(at, ":") || !digits(at, 2, &minute)) {
        return false;
    }
    if (character(at, ":")) {
        if (!digits(at, 2, &second)) {
            return false;
        }
        if (character(at, ".,")) {
            int64_t scale = 100;
            if (!isdigit((unsigned char)**at)) {
                return false;
            }
            for (; isdigit((unsigned char)**at); (*at)++) {
                ms += (**at - '0') * scale;
                scale /= 10;
            }
        }
    }
    *out_ms = ((hour * 60 + minute) * 60 + second) * 1000 + ms;
    return hour < 24 && minute < 60 && second < 60;
}

static bool parse_zone(const char **at, int64_t *offset_s)
{
    int64_t hour;
    int64_t minute = 0;
    if (**at == '\0') {
        return true; /* the default stays */
    }
    if (character(at, "Zz")) {
        *offset_s = 0;
        return true;
    }
    int64_t sign = **at == '-' ? -1 : 1;
    if (!character(at, "+-") || !digits(at, 2, &hour)) {
        return false;
    }
    (void)character(at, ":"); /* may be left out */
    if (**at != '\0' && !digits(at, 2, &minute)) {
        return false;
    }
    *offset_s = sign * (hour * 60 + minute) * 60;
    return hour < 24 && minute < 60;
}

bool records_parse_time(const char *text, int default_offset_s, struct wall *out_time)
{
    ASSERT(text != NULL && out_time != NULL);
    int64_t days;
    int64_t ms;
    int64_t offset_s = default_offset_s;
    const char *at = text;
    if (!parse_date(&at, &days) || !character(&at, "Tt ") || !parse_clock(&at, &ms)) {
        return false;
    }
    (void)character(&at, " "); /* "12:00 +01:00" */
    if (!parse_zone(&at, &offset_s) || *at != '\0') {
        return false;
    }
    out_time->ms = days * 86400000 + ms - offset_s * 1000;
    return true;
}

void records_format_time(struct wall time, char out[RECORDS_TIME_SIZE])
{
    int64_t days = time.ms / 86400000 - (time.ms % 86400000 < 0 ? 1 : 0);
    int64_t ms = time.ms - days * 86400000;
    int64_t year;
    int64_t month;
    int64_t day;
    date_from_days(days, &year, &month, &day);
    (void)snprintf(out, RECORDS_TIME_SIZE,
                   "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64
                   ":%02" PRId64 ".%03" PRId64 "000+00:00",
                   year, month, day, ms / 3600000, ms / 60000 % 60, ms / 1000 % 60, ms % 1000);
}
