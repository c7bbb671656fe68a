# Many small tests in subshells, as a configure script makes them.
checked=0 cache=()
check() {
    local name=$1 words
    shift
    words=$(printf '%s ' "$@"; case $name in (*[02468]) echo even ;; (*) echo odd ;; esac)
    [[ $words =~ (even|odd) ]] && cache+=("ac_cv_${name//-/_}=${BASH_REMATCH[1]}")
    ((checked++))
}
for ((i = 0; i < $1; i++)); do
    for header in stdio.h stdlib.h string.h unistd.h sys/types.h; do
        check "header-${header%.h}-$i" "${header^^}" "$((i * 7919 % 101))"
    done
    while IFS='=' read -r key value; do last="$key:$value"; done < <(printf '%s\n' "${cache[@]}")
done
echo "checked $checked ${#cache[@]} $last"
